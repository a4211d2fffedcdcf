"""Programs that run a model: how each is started, asked and stopped."""
