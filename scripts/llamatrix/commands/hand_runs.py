"""llama-bench by hand, beside our own runs: what a bare shell would have measured."""

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from llamatrix import __version__
from llamatrix.commands.pending import CellStatus
from llamatrix.config.cell import Cell, SpeedTest
from llamatrix.engines.llama_cpp.engine import run_bare
from llamatrix.engines.llama_cpp.llama_bench import parse_row
from llamatrix.engines.outcome import SpeedSample
from llamatrix.engines.protocol import Bench
from llamatrix.host import Host, this_host
from llamatrix.project import Project
from llamatrix.records.store import Envelope, Fields, RecordKind, RecordLocation, Store


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
    def whole(self) -> bool:
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
        "samples": tuple(parse_row(bytes(row)) for row in rows),
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


def hand_runs(item: CellStatus[Cell], project: Project) -> tuple[HandRun, ...]:
    """The whole runs by hand of a cell on this host, under its digest."""
    store = Store(reports=project.reports, kind=BY_HAND)
    runs = store.read(host_slug=this_host().slug, record_id=item.cell.id)
    return tuple(run for run in runs if run.digest == item.digest and run.whole)


def run_by_hand(
    item: CellStatus[Cell], bench: Bench, tests: Sequence[SpeedTest], *, repeat: int
) -> HandRun:
    """Start the same command bare: output into files, nothing sampled meanwhile."""
    label = f"{bench.log.name}-by-hand-{uuid.uuid4().hex[:12]}"
    started_at = datetime.now(UTC).isoformat(timespec="milliseconds")
    run = run_bare(
        bench,
        tests,
        out=bench.log.with_name(f"{label}.jsonl"),
        timeout_s=bench.sweep.timeout_s * len(tests),
    )
    return HandRun(
        measured_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
        host=this_host(),
        made_by=f"llamatrix {__version__}",
        cell=item.cell.id,
        digest=item.digest,
        repeat=repeat,
        started_at=started_at,
        argv=run.argv,
        exit_code=run.exit_code,
        wall_s=run.wall_s,
        samples=run.samples,
    )
