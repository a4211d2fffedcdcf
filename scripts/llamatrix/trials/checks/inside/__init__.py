"""Programs that run beside judged code, in its sandbox; standard library only."""
