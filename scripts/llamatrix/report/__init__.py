"""Records to tables and pages; the only room that rounds."""
