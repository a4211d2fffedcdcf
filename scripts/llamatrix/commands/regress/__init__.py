"""`invoke regress`: two pins measured in pairs, until a verdict or the budget's end."""
