"""Samples to what may be claimed of them: pure statistics, no process, no clock."""
