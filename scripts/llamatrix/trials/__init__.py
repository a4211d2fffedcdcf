"""One attempt at a task: prompts, services, checks and outcome."""
