"""The formats of a table: one module each."""
