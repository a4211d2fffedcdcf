"""`invoke agent`: the agentic tasks, done by OpenCode against a served model."""
