"""The tap: what passes between an agent and the model server, recorded."""
