"""From `matrix.toml` and `matrix.lock` to cells. Pure: reads two files, starts nothing."""
