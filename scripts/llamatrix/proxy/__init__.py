"""The tap: what passes between OpenCode and the server, recorded."""
