"""Pi, driven headless: one turn of a trial."""
