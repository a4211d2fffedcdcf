"""Synthetic weights: true shapes and types, random values, for speed and plumbing.

`models` says which file, `layout` what it contains (pure), `write` writes it.
"""
