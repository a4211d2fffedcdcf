"""`invoke context`: what is asked, how much memory there is, the search, its record."""
