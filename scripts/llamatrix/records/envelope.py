"""What every record says, whatever was measured: when, where, by whom, with what."""

import msgspec

from llamatrix.host import Host

SCHEMA_VERSION = 2
"""Of every kind of record written now."""


class Envelope(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The fields that all kinds of records share.

    The store adds `schema_version` and a `checksum` to the line that it writes; neither
    is a field of a record in memory.
    """

    measured_at: str
    """UTC, ISO 8601: when the outcome was known."""
    host: Host
    made_by: str
    """`llamatrix` and its version."""
    engine: str = "llama.cpp"
    """The kind of engine that was measured."""
    served_template_sha256: str = ""
    """Of the chat template that the server reported; empty where none was reported."""
    environment: dict[str, str] = {}
    """Variables that were set for the measured program on the user's request."""
    seed: int | None = None
    """What the order of running was drawn from; None for an order that was not drawn."""
    order: int | None = None
    """The position in that order, from 1."""
