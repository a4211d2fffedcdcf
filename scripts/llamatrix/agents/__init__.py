"""Coding agents: how each is configured, run and read."""
