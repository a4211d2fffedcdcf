"""`invoke regress --agent`: trials of agents in two arms, and what their passes say."""
