"""Where each record stands in the store, and the digest that proves its bytes."""

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Generic

from llamatrix.records.speed_record import SPEED, SpeedRecord
from llamatrix.records.store import DamagedLine, Line, R, RecordKind, Store, Stored
from llamatrix.records.trial_record import AGENT, TrialRecord


class Places(Generic[R]):
    """The records of one kind, with their places in the store."""

    def __init__(
        self, lines: Iterable[Line[R]], damaged: Iterable[DamagedLine] = ()
    ) -> None:
        self.lines = tuple(lines)
        self.damaged = tuple(damaged)
        """Lines that cannot be read as records."""
        self._by_record = {_identity(line.record): line for line in self.lines}
        self._by_digest = {line.sha256: line for line in self.lines}

    @property
    def records(self) -> tuple[R, ...]:
        return tuple(line.record for line in self.lines)

    def of(self, record: R) -> Line[R]:
        """The place of a record that was read from this store."""
        return self._by_record[_identity(record)]

    def only(self, digests: Collection[str]) -> "Places[R]":
        return Places(line for line in self.lines if line.sha256 in digests)

    def by_digest(self, sha256: str) -> Line[R] | None:
        return self._by_digest.get(sha256)


Evidence = Places[SpeedRecord]
TrialEvidence = Places[TrialRecord]
NO_TRIALS = TrialEvidence(())


def read_evidence(reports: Path, *, only: Collection[str] | None = None) -> Evidence:
    """Every speed record below `reports/records`, in an order of names alone.

    With `only` those of these digests; other lines need not even be records.
    """
    return read_index(reports, SPEED, only=only)


def read_trial_evidence(
    reports: Path, *, only: Collection[str] | None = None
) -> TrialEvidence:
    """The same of trials."""
    return read_index(reports, AGENT, only=only)


def read_index(
    reports: Path, kind: RecordKind[R], *, only: Collection[str] | None = None
) -> Places[R]:
    """Read every record of a kind, with its place; unreadable lines are kept apart."""
    found = tuple(Store(reports=reports, kind=kind).lines(only=only))
    return Places(
        (line for line in found if isinstance(line, Line)),
        (line for line in found if isinstance(line, DamagedLine)),
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
