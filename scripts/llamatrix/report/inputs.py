"""What reports are made of: indexed records, reference sets, measured bandwidth."""

import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Generic

import msgspec

from llamatrix.errors import ReportError
from llamatrix.measure.stream import SCHEMA_VERSION, Bandwidth
from llamatrix.records.speed_record import SpeedRecord
from llamatrix.records.store import DamagedLine, Line, R, RecordKind, Store, Stored
from llamatrix.records.trial_record import TrialRecord
from llamatrix.reference.audit import audit
from llamatrix.reference.gpu import Gpu
from llamatrix.reference.reference_set import Claim, ReferenceSet, load_set
from llamatrix.reference.rules.rule import Finding


class RecordIndex(Generic[R]):
    """The records of one kind, where each stands in the store, and its line's digest."""

    def __init__(
        self, lines: Iterable[Line[R]], damaged: Iterable[DamagedLine] = ()
    ) -> None:
        self.lines = tuple(lines)
        self.damaged = tuple(damaged)
        """Lines that cannot be read as records."""
        self._by_record = {_identity(line.record): line for line in self.lines}

    @property
    def records(self) -> tuple[R, ...]:
        return tuple(line.record for line in self.lines)

    def of(self, record: R) -> Line[R]:
        """Return the line of a record that was read from this store."""
        return self._by_record[_identity(record)]

    def only(self, digests: Collection[str]) -> "RecordIndex[R]":
        return RecordIndex(line for line in self.lines if line.sha256 in digests)


SpeedIndex = RecordIndex[SpeedRecord]
TrialIndex = RecordIndex[TrialRecord]
NO_TRIALS = TrialIndex(())


def read_index(
    reports: Path, kind: RecordKind[R], *, only: Collection[str] | None = None
) -> RecordIndex[R]:
    """Read every record of a kind, with its place, in an order of names alone.

    Unreadable lines are kept apart. With `only` those of these digests; other lines need
    not even be records.
    """
    lines = tuple(Store(reports=reports, kind=kind).lines(only=only))
    return RecordIndex(
        (line for line in lines if isinstance(line, Line)),
        (line for line in lines if isinstance(line, DamagedLine)),
    )


def _identity(record: Stored) -> tuple[object, ...]:
    """No two measurements share it."""
    match record:
        case SpeedRecord(cell=cell, host=host, measured_at=when):
            which: tuple[object, ...] = (record.repeat, record.test, record.process.id)
            return (host.slug, cell.id, cell.digest, when, *which)
        case TrialRecord(cell=facts, host=host, measured_at=when):
            return (host.slug, facts.id, facts.digest, when, record.trial)
        case _:
            return (record.host.slug, record.record_id, record.measured_at)


@dataclass(frozen=True, kw_only=True, slots=True)
class Published:
    name: str
    sha256: str
    """Of the file."""
    whole: ReferenceSet
    claims: tuple[Claim, ...]
    findings: tuple[Finding, ...]
    gpus: Mapping[str, Gpu]

    @property
    def by_id(self) -> dict[str, Claim]:
        return {claim.id: claim for claim in self.claims}

    @property
    def heading(self) -> str:
        source = self.whole.source
        parts = (source.title, source.author, source.where, source.date or "undated")
        return ", ".join(parts)


def load_published(
    path: Path, *, models: Collection[str], gpus: Mapping[str, Gpu]
) -> Published:
    """The set in a file; ReportError with every complaint about it."""
    whole = load_set(path, models=models)
    return Published(
        name=path.stem,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        whole=whole,
        claims=whole.claims(),
        findings=audit(whole, gpus),
        gpus={**gpus, **whole.gpus},
    )


def bandwidth_path(reports: Path, host_slug: str) -> Path:
    return reports / "records" / host_slug / "bandwidth.json"


def read_bandwidth(reports: Path, host_slug: str) -> Bandwidth | None:
    """None where none was measured; ReportError with the remedy where it is unreadable."""
    path = bandwidth_path(reports, host_slug)
    try:
        bandwidth = msgspec.json.decode(path.read_bytes(), type=Bandwidth)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise ReportError(
            f"{path}: cannot be read: {error}; `invoke compare --bandwidth` measures it again"
        ) from error
    if bandwidth.schema_version > SCHEMA_VERSION:
        raise ReportError(f"{path}: written by a newer llamatrix; update this checkout")
    return bandwidth


def write_bandwidth(reports: Path, bandwidth: Bandwidth) -> Path:
    path = bandwidth_path(reports, bandwidth.host.slug)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(msgspec.json.format(msgspec.json.encode(bandwidth)) + b"\n")
    except OSError as error:
        raise ReportError(f"{path}: cannot be written: {error.strerror}") from error
    return path
