"""Turns pins into verified sources, binaries and weights on disk, each made once."""
