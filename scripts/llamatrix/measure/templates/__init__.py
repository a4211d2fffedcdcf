"""Does a chat template do what its family's format demands? Asked before a GPU minute.

Conversations are rendered by a running llama-server and by Python's jinja2, read back
by a strict parser of the family's format, and compared with what was said in them.
"""
