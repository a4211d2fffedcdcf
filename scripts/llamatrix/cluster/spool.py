"""The spool of a host: records on its disk until the driver has them on its own.

It is a store like any other, one for each driver, so a crash or a cut loses nothing that
was measured. Lines leave it when they are taken.
"""

import hashlib
import platform
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from llamatrix.cluster.protocol import (
    PIECE_BYTES,
    FilePiece,
    RecordLine,
    line_sha256,
    trajectory_of,
)
from llamatrix.exclusive import exclusive
from llamatrix.project import Project
from llamatrix.records.store import R, Store

_TRAJECTORY = "trajectories"


@dataclass(frozen=True, kw_only=True, slots=True)
class SpoolStore(Store[R]):
    """A store that passes each record on as soon as it is on disk."""

    clock_ahead_s: float
    on_append: Callable[[R], None]

    def append(self, record: R) -> None:
        if self.clock_ahead_s:
            record = msgspec.structs.replace(  # type: ignore[type-var]
                record, clock_ahead_s=self.clock_ahead_s
            )
        Store.append(self, record)
        self.on_append(record)


@dataclass(frozen=True, kw_only=True, slots=True)
class Spool:
    """The records that one driver ordered from this host."""

    reports: Path

    @property
    def records(self) -> Path:
        return self.reports / "records"

    def lines(self, file: str = "") -> Iterator[RecordLine]:
        """Yield the whole lines of a record's file, or of all, as they lie on disk."""
        paths = [self.records / file] if file else sorted(self.records.rglob("*.jsonl"))
        for path in paths:
            if path.is_file() and _TRAJECTORY not in path.parts:
                name = path.relative_to(self.records).as_posix()
                *whole, _ = path.read_bytes().split(b"\n")
                yield from (RecordLine(file=name, line=line + b"\n") for line in whole)

    def pieces(self, line: RecordLine) -> Iterator[FilePiece]:
        """Yield the files of the record's trajectory."""
        folder = self._trajectory(line)
        for path in sorted(folder.rglob("*")) if folder else ():
            if not path.is_file():
                continue
            name, first = path.relative_to(self.records).as_posix(), True
            with path.open("rb") as file:
                while (data := file.read(PIECE_BYTES)) or first:
                    yield FilePiece(path=name, data=data, first=first)
                    first = False

    def forget(self, taken: frozenset[str]) -> None:
        """Remove lines, by their sha256, and their trajectories."""
        with exclusive(self.records / ".lock", purpose="clearing the spool"):
            for path in sorted(self.records.rglob("*.jsonl")):
                if _TRAJECTORY in path.parts:
                    continue
                name = path.relative_to(self.records).as_posix()
                lines = path.read_bytes().splitlines(keepends=True)
                kept = [line for line in lines if line_sha256(line) not in taken]
                for line in lines:
                    folder = self._trajectory(RecordLine(file=name, line=line))
                    if line not in kept and folder:
                        shutil.rmtree(folder, ignore_errors=True)
                if not kept:
                    path.unlink()
                elif len(kept) < len(lines):
                    new = path.with_suffix(".new")
                    new.write_bytes(b"".join(kept))
                    new.replace(path)

    def _trajectory(self, line: RecordLine) -> Path | None:
        folder = trajectory_of(line)
        return self.records / folder if folder else None


def spool_of(driver: str, project: Project) -> Spool:
    """The spool of a driver on this host, also where hosts share one cache."""
    host = hashlib.sha256(platform.node().encode()).hexdigest()[:8]
    return Spool(reports=project.cache / "spool" / f"{driver}-{host}")
