"""Made-up weights: true shapes and types, random values, for speed and plumbing.

`spec` says which file, `layout` what stands in it (pure), `write` makes it.
"""
