"""What reports are made of: indexed records, reference sets, measured bandwidth."""

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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


class RecordIndex:
    """Reads records, and knows where each stands in the store and its line's digest.

    With `only`, lines of other digests are not read; they need not even be records.
    """

    def __init__(self, reports: Path, *, only: Collection[str] | None = None) -> None:
        self._reports = reports
        self._only = only
        self._by_record: dict[tuple[object, ...], Line[Any]] = {}
        self.damaged: list[DamagedLine] = []
        """Lines that cannot be read as records."""

    def read(self, kind: RecordKind[R]) -> tuple[R, ...]:
        """Read every record of a kind, in an order of names alone."""
        records = []
        for line in Store(reports=self._reports, kind=kind).lines(only=self._only):
            if isinstance(line, Line):
                records.append(line.record)
                self._by_record[_identity(line.record)] = line
            else:
                self.damaged.append(line)
        return tuple(records)

    @property
    def digests(self) -> frozenset[str]:
        return frozenset(line.sha256 for line in self._by_record.values())

    def of(self, record: R) -> Line[R]:
        """Return the line of a record that was read."""
        return self._by_record[_identity(record)]


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
