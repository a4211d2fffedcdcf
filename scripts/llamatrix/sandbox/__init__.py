"""Bubblewrap, its supervisor, and what passes between a trial and the host."""
