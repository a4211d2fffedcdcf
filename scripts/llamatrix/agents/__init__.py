"""Coding agents: how each is configured, run and read."""

NAMES = {"opencode": "OpenCode", "pi": "Pi"}
"""By an agent's kind in a record, its name in reports."""
