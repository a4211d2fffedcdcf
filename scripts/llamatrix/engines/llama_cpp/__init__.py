"""llama.cpp: llama-bench, llama-batched-bench, llama-server and llama-fit-params."""
