"""Checks whether a chat template follows its family's format, before any GPU is used.

Conversations are rendered by a running llama-server and by Python's jinja2, parsed back
by a strict parser of the family's format, and compared with the original messages.
"""
