"""llama.cpp: llama-bench, llama-server and llama-fit-params."""
