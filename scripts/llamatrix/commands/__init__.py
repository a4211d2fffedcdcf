"""The conductors: what each command runs, from the matrix to the page."""
