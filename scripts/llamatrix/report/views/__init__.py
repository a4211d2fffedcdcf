"""The tables of the reports, made of records."""
