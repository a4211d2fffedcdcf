"""Engines: programs that run a model."""
