"""What children send becomes records of the driver, each exactly once.

The driver's store is asked before each record is appended: by digest, repeat and test, or
by digest and trial. So a host that comes back may hand in all it has.
"""

import shutil
import threading
from collections.abc import Hashable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import msgspec

from llamatrix.cluster.protocol import FilePiece, RecordLine, trajectory_of
from llamatrix.engines.outcome import Done
from llamatrix.errors import RecordError
from llamatrix.project import Project
from llamatrix.records.context_record import CONTEXT, ContextRecord
from llamatrix.records.speed_record import SERVE_SPEED, SPEED, SpeedRecord
from llamatrix.records.store import RecordKind, RecordLocation, Store
from llamatrix.records.trial_record import AGENT, TrialRecord
from llamatrix.trials.trial_result import is_scored

Record = SpeedRecord | TrialRecord | ContextRecord
_KINDS: dict[
    str, RecordKind[SpeedRecord] | RecordKind[TrialRecord] | RecordKind[ContextRecord]
] = {kind.folder: kind for kind in (SPEED, SERVE_SPEED, AGENT, CONTEXT)}
_DECODERS = [msgspec.json.Decoder(kind.holds) for kind in _KINDS.values()]
"""Not used, but made before there are threads, for the reason in `records/store.py`."""
_INCOMING = ".incoming"


@dataclass(kw_only=True, slots=True)
class Batch:
    """The lines of one order, or those that a host hands in late."""

    host_slug: str = ""
    """The class that they must be of; empty for any."""
    digest: str = ""
    """The digest that they must have; empty for any."""
    known: set[str] = field(default_factory=set)
    """When the records were written that do not stand in the way of new ones."""
    taken: list[str] = field(default_factory=list)
    """Lines, by their sha256, that the child may forget."""
    kept: int = 0
    without_number: int = 0
    unscripted: int = 0
    """Those among them in which a model spoke for itself."""


class Intake:
    """The only writer of the driver's records while cells are measured elsewhere."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self._guard = threading.Lock()

    def keep_piece(self, lane: str, piece: FilePiece) -> None:
        """Put a part of a file aside until its record arrives."""
        path = self._incoming(lane) / _inside(piece.path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb" if piece.first else "ab") as file:
            file.write(piece.data)

    def keep(self, lane: str, line: RecordLine, batch: Batch) -> None:
        """Append the record, and count it in the batch, unless it is here already.

        Raise RecordError for a line that is damaged or of something else than ordered.
        """
        host_slug, _, name = line.file.partition("/")
        kind = _KINDS.get(name.partition("/")[0])
        record_id = name.removesuffix(".jsonl")
        if kind is None:
            raise RecordError(f"{line.file}: not a file of records")
        place = RecordLocation(host_slug, record_id)
        record = kind.decode(line.line.rstrip(b"\n"), where=line.file, place=place)
        if record.host.slug != host_slug or record.record_id != record_id:
            raise RecordError(f"{line.file}: holds a record of {record.record_id}")
        if batch.digest and (host_slug, record.cell.digest) != (
            batch.host_slug,
            batch.digest,
        ):
            raise RecordError(f"{line.file}: a record of another class or digest")
        store: Store[Record] = Store(reports=self._project.reports, kind=kind)  # type: ignore[arg-type]
        folder = trajectory_of(line)
        incoming = self._incoming(lane) / _inside(folder) if folder else None
        with self._guard:
            if not _stands(record, store, batch):
                if folder and incoming and incoming.is_dir():
                    target = self._project.records / folder
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.rmtree(target, ignore_errors=True)
                    shutil.move(incoming, target)
                store.append(record)
                batch.known.add(record.measured_at)
                batch.kept += 1
                if not _is_number(record):
                    batch.without_number += 1
                    batch.unscripted += (
                        isinstance(record, TrialRecord) and record.cell.script is None
                    )
            elif incoming:
                shutil.rmtree(incoming, ignore_errors=True)

    def discard(self, lane: str) -> None:
        """Remove what a lost lane left half sent."""
        shutil.rmtree(self._incoming(lane), ignore_errors=True)

    def _incoming(self, lane: str) -> Path:
        return self._project.reports / _INCOMING / lane.replace("/", "-")


def _inside(path: str) -> PurePosixPath:
    """Return a relative path that stays inside; RecordError for any other."""
    parts = PurePosixPath(path)
    if parts.is_absolute() or ".." in parts.parts or "trajectories" not in parts.parts:
        raise RecordError(f"{path}: not a file of a trajectory")
    return parts


def _stands(record: Record, store: Store[Record], batch: Batch) -> bool:
    """Whether the store has this record, or another of the same key since the order."""
    here = store.read(host_slug=record.host.slug, record_id=record.record_id)
    same = [other for other in here if key_of_record(other) == key_of_record(record)]
    return any(
        other.measured_at == record.measured_at or other.measured_at not in batch.known
        for other in same
    )


def key_of_record(record: Record) -> Hashable:
    """Digest, repeat and test; of a trial digest and number."""
    match record:
        case SpeedRecord():
            return record.cell.digest, record.repeat, record.test
        case TrialRecord():
            return record.cell.digest, record.trial
        case _:
            return record.cell.digest


def _is_number(record: Record) -> bool:
    match record:
        case SpeedRecord():
            return isinstance(record.outcome, Done)
        case TrialRecord():
            return is_scored(record.result.outcome)
        case _:
            return True
