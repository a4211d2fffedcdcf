"""Published numbers: read, audited, held against physics, compared with ours."""
