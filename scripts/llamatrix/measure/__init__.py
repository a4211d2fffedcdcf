"""Runs the measured programs and tells what came of it, good or bad."""
