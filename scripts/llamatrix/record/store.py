"""The store: one append-only file of JSON lines for each cell and host class."""

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Generic

import msgspec

from llamatrix.errors import RecordError
from llamatrix.exclusive import exclusive
from llamatrix.progress import say
from llamatrix.record.kind import Kind, R


@dataclass(frozen=True, kw_only=True, slots=True)
class Store(Generic[R]):
    """The records of one kind."""

    folder: Path
    """`reports/records`; below it a folder for each host class."""
    kind: Kind[R]

    def file_of(self, host_slug: str, cell_id: str) -> Path:
        return self.folder / host_slug / f"{cell_id}.jsonl"

    def append(self, record: R) -> None:
        """Write one whole line and have it on the disk before returning."""
        if not record.cell.id.startswith(f"{self.kind.folder}/"):
            raise ValueError(f"{record.cell.id}: not of kind {self.kind.folder}")
        path = self.file_of(record.host.slug, record.cell.id)
        line = msgspec.json.encode(record) + b"\n"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with exclusive(self.folder / ".lock", purpose=f"writing {path.name}"):
                _mend_end(path)
                _append_line(path, line)
        except OSError as error:
            raise RecordError(
                f"{path}: the record could not be written: {error.strerror}; free some "
                "space or mend the permissions, then run the command again: all "
                "earlier records are kept"
            ) from error

    def read(self, *, host_slug: str, cell_id: str) -> list[R]:
        return list(_records(self.file_of(host_slug, cell_id), self.kind))

    def read_all(self) -> Iterator[R]:
        """The kind's records of every host, in an order of names alone."""
        for path in sorted(self.folder.glob(f"*/{self.kind.folder}/**/*.jsonl")):
            yield from _records(path, self.kind)


def _records(path: Path, kind: Kind[R]) -> Iterator[R]:
    """The file's records; a last line that was cut short by a crash is passed over."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return
    except OSError as error:
        raise RecordError(f"{path}: cannot be read: {error.strerror}") from error
    lines = content.split(b"\n")
    torn = lines.pop()
    for number, line in enumerate(lines, start=1):
        yield kind.decode(line, where=f"{path}:{number}")
    if torn:
        say(f"{path.name}: passing over a last line that was cut short by a crash")


def _mend_end(path: Path) -> None:
    """Move a half-written last line aside, so that the next one starts a line.

    It was never acknowledged to anybody; it is kept beside the file all the same.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return
    whole = content.rfind(b"\n") + 1
    if whole == len(content):
        return
    with path.with_suffix(".torn").open("ab") as aside:
        aside.write(content[whole:] + b"\n")
        os.fsync(aside.fileno())
    os.truncate(path, whole)


def _append_line(path: Path, line: bytes) -> None:
    new = not path.exists()
    with path.open("ab", buffering=0) as file:
        before = file.tell()
        written = file.write(line)
        if written != len(line):
            os.ftruncate(file.fileno(), before)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(file.fileno())
    if new:
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
