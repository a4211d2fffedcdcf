"""Cells on several hosts, or on several cards of one.

The driver plans and is the only writer of the store. On each host a child process
(`child.py`) measures by the same code as without a cluster. They exchange JSON lines
(`protocol.py`), carried by pipes, ssh (`lanes.py`) or Ray (`ray.py`).
"""
