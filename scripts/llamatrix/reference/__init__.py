"""Published numbers: read, audited against physics, compared with ours."""
