"""Judges what an agent left behind: checks with reasons, the order of its work, its code."""
