"""The page that people read: one file, from records to HTML."""
