"""Weights on disk: published or synthetic GGUF files, and the memory they need."""
