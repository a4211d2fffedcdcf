"""Cell, pins, host and outcome, written once and kept: one JSON line each."""
