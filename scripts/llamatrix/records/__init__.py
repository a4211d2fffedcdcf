"""Records: one JSON line per measurement, with its cell, pins, host and outcome."""
