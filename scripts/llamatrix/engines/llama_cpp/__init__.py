"""From a model, its weights and a build to a running endpoint, and to its end."""
