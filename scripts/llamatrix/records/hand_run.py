"""llama-bench started by hand beside our own runs: what a bare shell measures."""

import msgspec

from llamatrix.engines.outcome import SpeedSample
from llamatrix.engines.registry import parse_unnamed_row
from llamatrix.host import Host
from llamatrix.records.store import Envelope, Fields, RecordKind, RecordLocation


class HandRun(Envelope, frozen=True, kw_only=True):
    """One process, started bare, its rows read after its end."""

    cell: str
    """The id of the cell it stands beside …"""
    digest: str
    """… and its digest."""
    repeat: int
    started_at: str
    """UTC, ISO 8601."""
    argv: tuple[str, ...]
    exit_code: int
    wall_s: float
    samples: tuple[SpeedSample, ...]
    """One for each row that llama-bench printed."""

    @property
    def record_id(self) -> str:
        return self.cell

    @property
    def complete(self) -> bool:
        return self.exit_code == 0


def by_hand_from_1(fields: Fields, place: RecordLocation) -> Fields:
    """Migrate a run of schema 1, which kept rows alone and nothing about the host."""
    host = Host(
        slug=place.host_slug,
        cpu_model="not recorded",
        physical_cores=0,
        logical_cores=0,
        memory_bytes=0,
        kernel="not recorded",
    )
    rows = msgspec.json.decode(fields["rows"], type=tuple[msgspec.Raw, ...])
    added = {
        "cell": place.record_id,
        "measured_at": fields["started_at"],
        "host": host,
        "made_by": "llamatrix 0.1.0",
        "samples": tuple(parse_unnamed_row(bytes(row)) for row in rows),
    }
    raw = {key: msgspec.Raw(msgspec.json.encode(value)) for key, value in added.items()}
    return {**fields, **raw}


BY_HAND = RecordKind(
    folder="speed",
    holds=HandRun,
    migrations={1: by_hand_from_1},
    root="by-hand",
    unversioned=True,
)
