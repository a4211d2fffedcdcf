"""Where each record stands in the store, and the digest that proves its bytes."""

import hashlib
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Generic

from llamatrix.errors import ReportError
from llamatrix.progress import say
from llamatrix.record.kind import Kind, R
from llamatrix.record.record import SPEED, Record
from llamatrix.record.trial_record import AGENT, TrialRecord


@dataclass(frozen=True, kw_only=True, slots=True)
class Line(Generic[R]):
    """One record as it lies on the disk."""

    file: str
    """Relative to the folder of the reports: `records/<host>/speed/….jsonl`."""
    number: int
    """From 1, as editors and `sed -n 5p` count."""
    sha256: str
    """Of the line with its newline: `sed -n 5p FILE | sha256sum` prints it."""
    record: R


class Places(Generic[R]):
    """The records of one kind, with their places in the store."""

    def __init__(self, lines: Iterable[Line[R]]) -> None:
        self.lines = tuple(lines)
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


Evidence = Places[Record]
TrialEvidence = Places[TrialRecord]
NO_TRIALS = TrialEvidence(())


def read_evidence(reports: Path, *, only: Collection[str] | None = None) -> Evidence:
    """Every speed record below `reports/records`, in an order of names alone.

    With `only` those of these digests; other lines need not even be records.
    """
    return _read(reports, SPEED, only)


def read_trial_evidence(
    reports: Path, *, only: Collection[str] | None = None
) -> TrialEvidence:
    """The same of trials."""
    return _read(reports, AGENT, only)


def _read(reports: Path, kind: Kind[R], only: Collection[str] | None) -> Places[R]:
    paths = sorted((reports / "records").glob(f"*/{kind.folder}/**/*.jsonl"))
    return Places(line for path in paths for line in _lines(path, reports, kind, only))


def _lines(
    path: Path, reports: Path, kind: Kind[R], only: Collection[str] | None
) -> Iterator[Line[R]]:
    """The whole lines of a file; a last one cut short by a crash is passed over."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ReportError(f"{path}: cannot be read: {error.strerror}") from error
    *whole, torn = content.split(b"\n")
    if torn:
        say(f"{path.name}: passing over a last line that was cut short by a crash")
    for number, line in enumerate(whole, start=1):
        sha256 = hashlib.sha256(line + b"\n").hexdigest()
        if only is None or sha256 in only:
            yield Line(
                file=path.relative_to(reports).as_posix(),
                number=number,
                sha256=sha256,
                record=kind.decode(line, where=f"{path}:{number}"),
            )


def _identity(record: object) -> tuple[object, ...]:
    """No two measurements share it."""
    match record:
        case Record(cell=cell, host=host, measured_at=when):
            which: tuple[object, ...] = (record.repeat, record.test, record.process.id)
            return (host.slug, cell.id, cell.digest, when, *which)
        case TrialRecord(cell=facts, host=host, measured_at=when):
            return (host.slug, facts.id, facts.digest, when, record.trial)
        case _:
            raise TypeError(record)
