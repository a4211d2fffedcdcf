"""Endpoint records: one test over HTTP, of a server that nobody has verified.

They are a kind of their own: speed records name the build and the weights that were
measured, and an endpoint tells neither.
"""

import msgspec

from llamatrix.config.cell import SpeedTest
from llamatrix.config.endpoint_cell import EndpointCell
from llamatrix.engines.endpoint.client import Reported
from llamatrix.engines.outcome import Outcome, Process
from llamatrix.records.store import Envelope, RecordKind
from llamatrix.redaction import without_folders

ENGINE = "endpoint"


class EndpointFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The cell as tables need it; no address."""

    id: str
    digest: str
    """Over spec, host class and what the server reported."""
    spec_digest: str
    endpoint: str
    model: str
    """The server's name for it; of a path the last part."""
    sweep: str
    loopback: bool
    """Whether the server ran on this host; the host of others is not known."""


class EndpointRecord(Envelope, frozen=True, kw_only=True):
    cell: EndpointFacts
    reported: Reported
    test: SpeedTest
    repeat: int
    outcome: Outcome
    process: Process
    """Of our requests: a command line is not known."""

    @property
    def record_id(self) -> str:
        return self.cell.id


def endpoint_facts(cell: EndpointCell, *, digest: str) -> EndpointFacts:
    return EndpointFacts(
        id=cell.id,
        digest=digest,
        spec_digest=cell.spec_digest,
        endpoint=cell.endpoint_key,
        model=without_folders(cell.endpoint.model)
        if cell.endpoint.model.startswith("/")
        else cell.endpoint.model,
        sweep=cell.sweep_key,
        loopback=cell.endpoint.loopback,
    )


ENDPOINT = RecordKind(folder="endpoint", holds=EndpointRecord, migrations={})
