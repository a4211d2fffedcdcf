"""Two arms compared pair by pair: llama-bench, replayed sessions, or agents' trials."""
