"""The store: append-only files of JSON lines, one per host class and record id."""

import errno
import hashlib
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Generic, NamedTuple, Protocol, TypedDict, TypeVar

import msgspec

from llamatrix import __version__
from llamatrix.clock import utc_now
from llamatrix.errors import RecordError
from llamatrix.exclusive import exclusive
from llamatrix.host import Host, this_host
from llamatrix.measured_environment import ProcessConditions
from llamatrix.progress import say
from llamatrix.project import find_project
from llamatrix.scratch import temporary_folder

SCHEMA_VERSION = 2
"""Of all records that this version writes."""


class Envelope(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The fields that all kinds of records share.

    The store adds `schema_version` and a `checksum` to the line that it writes; neither
    is a field of a record in memory.
    """

    measured_at: str
    """UTC, ISO 8601: when the outcome was known."""
    host: Host
    made_by: str
    """`llamatrix` and its version."""
    clock_ahead_s: float = 0.0
    """How far the host's clock was ahead of the driver's, whose time the record has; 0
    for a clock that was right."""
    engine: str = "llama.cpp"
    """The kind of engine that was measured."""
    served_template_sha256: str = ""
    """Of the chat template that the server reported; empty for none."""
    environment: dict[str, str] = {}
    """Variables set for the measured program at the user's request."""
    same_environment: ProcessConditions | None = None
    """What the measured program inherited: the same with a cluster and without one."""
    seed: int | None = None
    """Seed of the random order of the runs; None for a fixed order."""
    order: int | None = None
    """The position in that order, from 1."""


class Stamp(TypedDict):
    measured_at: str
    host: Host
    made_by: str


def stamp() -> Stamp:
    """Return the fields that say when, where and by which version a record is made."""
    made_by = f"llamatrix {__version__}"
    return Stamp(measured_at=utc_now(), host=this_host(), made_by=made_by)


Fields = dict[str, msgspec.Raw]
"""The top level of a record's line; the values are still JSON."""

_FIRST_WITH_CHECKSUM = 2
_CHECKSUM = b',"checksum":"'


class RecordLocation(NamedTuple):
    """Host and id of a line's file, which older records do not contain."""

    host_slug: str
    record_id: str


Migration = Callable[[Fields, RecordLocation], Fields]


class NewerRecordError(RecordError):
    """The record was written by a newer llamatrix than this one."""


class Stored(Protocol):
    """The interface of a record of any kind."""

    @property
    def host(self) -> Host: ...

    @property
    def measured_at(self) -> str: ...

    @property
    def record_id(self) -> str:
        """Path of its file below the host's folder, without the suffix."""
        ...


R = TypeVar("R", bound=Stored)


class _Version(msgspec.Struct):
    schema_version: int | None = None


_VERSION = msgspec.json.Decoder(_Version)
"""Made before there are threads: msgspec 0.22 crashes where several of them are at once
the first to decode a type."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RecordKind(Generic[R]):
    folder: str
    """Below each host's folder, and the first part of each id: `speed`."""
    holds: type[R]
    migrations: Mapping[int, Migration]
    """By schema version, the function that converts its fields to the next version."""
    root: str = "records"
    """The folder below `reports` that contains the hosts' folders."""
    unversioned: bool = False
    """Whether lines of schema 1 carry no version."""

    def encode(self, record: R) -> bytes:
        """Return the record's line, newline and checksum included."""
        return seal(msgspec.json.encode(record))

    def decode(self, line: bytes, *, where: str, place: RecordLocation) -> R:
        """Parse one line without its newline.

        Raise RecordError for a damaged line and NewerRecordError for a newer schema.
        """
        try:
            version = check_line(line, where=where)
            if version is None and self.unversioned:
                version = 1
            if version is None:
                raise RecordError(f"{where}: not a record: it has no schema_version")
            if version == SCHEMA_VERSION:
                return msgspec.json.decode(line, type=self.holds)
            return self._migrated(line, version, where, place)
        except KeyError as error:
            raise RecordError(f"{where}: not a record: it has no {error}") from error
        except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
            raise RecordError(f"{where}: not a record: {error}") from error

    def _migrated(
        self, line: bytes, version: int, where: str, place: RecordLocation
    ) -> R:
        fields = msgspec.json.decode(line, type=Fields)
        while version < SCHEMA_VERSION:
            migrate = self.migrations.get(version)
            if migrate is None:
                raise RecordError(f"{where}: no migration from schema {version}")
            version += 1
            fields = migrate(fields, place)
        return msgspec.json.decode(msgspec.json.encode(fields), type=self.holds)


def seal(record: bytes) -> bytes:
    """Return a record's JSON as a line with its schema version and checksum."""
    text = b'{"schema_version":%d,' % SCHEMA_VERSION + record[1:]
    digest = hashlib.sha256(text).hexdigest().encode()
    return text[:-1] + _CHECKSUM + digest + b'"}\n'


def check_line(line: bytes, *, where: str) -> int | None:
    """Return the schema version of a whole line of any kind; None without one.

    Raise RecordError for a damaged line and NewerRecordError for a newer schema.
    """
    try:
        version = _VERSION.decode(line).schema_version
    except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
        raise RecordError(f"{where}: not a record: {error}") from error
    if version is not None and version > SCHEMA_VERSION:
        raise NewerRecordError(
            f"{where}: written by a newer llamatrix (schema {version}, this one "
            f"reads up to {SCHEMA_VERSION}); update this checkout"
        )
    if version is not None and version >= _FIRST_WITH_CHECKSUM:
        _check(line, where)
    return version


def _check(line: bytes, where: str) -> None:
    text, _, rest = line.rpartition(_CHECKSUM)
    digest = hashlib.sha256(text + b"}").hexdigest()
    if rest != digest.encode() + b'"}':
        raise RecordError(
            f"{where}: damaged: the line's checksum is {digest[:12]}…, not "
            f"{rest[:12].decode(errors='replace')}… as recorded"
        )


def keep_fields(fields: Fields, _place: RecordLocation) -> Fields:
    """Migrate a record whose fields are the same in the next schema."""
    return fields


def append_lines(path: Path, lines: Iterable[bytes]) -> int:
    """Append whole lines that a file of a store does not hold yet; return their number.

    All are on disk when this returns.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _move_torn_end(path)
    known = set(path.read_bytes().splitlines()) if path.exists() else set()
    new = [line for line in dict.fromkeys(lines) if line not in known]
    if new:
        _append_line(path, b"\n".join((*new, b"")))
    return len(new)


_PROBE_BYTES = 1 << 20
"""Larger than any record."""


class UnwrittenError(RecordError):
    """A record could not be written to the store; it is kept elsewhere."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Line(Generic[R]):
    """One record and its position on disk."""

    file: str
    """Relative to the folder of the reports: `records/<host>/speed/….jsonl`."""
    number: int
    """From 1, as editors and `sed -n 5p` count."""
    sha256: str
    """Of the line with its newline: `sed -n 5p FILE | sha256sum` prints it."""
    record: R


@dataclass(frozen=True, kw_only=True, slots=True)
class DamagedLine:
    """A line that cannot be read as a record."""

    file: str
    """As in `Line`."""
    number: int
    reason: str
    """`FILE:NUMBER: reason`."""
    newer: bool
    """Whether an updated checkout can read it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Store(Generic[R]):
    """The records of one kind.

    A record is completely on disk when `append` returns; a crash loses at most the
    record in flight. Lines are never edited. A last line that a crash cut short is moved
    to a `.torn` file before the next one is written.
    """

    reports: Path
    """The folder `reports`."""
    kind: RecordKind[R]

    @property
    def folder(self) -> Path:
        """Contains one folder per host class."""
        return self.reports / self.kind.root

    def file_of(self, host_slug: str, record_id: str) -> Path:
        return self.folder / host_slug / f"{record_id}.jsonl"

    def append(self, record: R) -> None:
        """Write one line; it is on disk when this returns."""
        if not record.record_id.startswith(f"{self.kind.folder}/"):
            raise ValueError(f"{record.record_id}: not of kind {self.kind.folder}")
        path = self.file_of(record.host.slug, record.record_id)
        line = self.kind.encode(record)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with exclusive(self.folder / ".lock", purpose=f"writing {path.name}"):
                _move_torn_end(path)
                _append_line(path, line)
        except OSError as error:
            remedy = _keep_aside(path, line)
            raise UnwrittenError(
                f"{path}: the record could not be written: {error.strerror}; {remedy}; "
                "all earlier records are kept. Free some space or repair the "
                "permissions, then run the command again"
            ) from error

    def require_room(self, host_slug: str) -> None:
        """Raise RecordError if no record can be written; called before measuring."""
        folder = self.folder / host_slug / self.kind.folder
        probe = folder / f".probe-{os.getpid()}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            try:
                probe.write_bytes(bytes(_PROBE_BYTES))
                with probe.open("rb") as file:
                    os.fsync(file.fileno())
            finally:
                probe.unlink(missing_ok=True)
        except OSError as error:
            raise RecordError(
                f"{folder}: no record can be written: {error.strerror}; nothing was "
                "measured. Free some space or repair the permissions first"
            ) from error

    def read(self, *, host_slug: str, record_id: str) -> list[R]:
        """Return the records of one file, in order.

        Damaged lines are skipped with a warning: their tests count as not measured.
        Raise NewerRecordError for a file with lines of a newer llamatrix.
        """
        records = []
        for line in _lines(self.file_of(host_slug, record_id), self):
            if isinstance(line, Line):
                records.append(line.record)
            elif line.newer:
                raise NewerRecordError(line.reason)
        return records

    def read_all(self) -> Iterator[R]:
        """Yield the records of all hosts by file name; unreadable lines are skipped."""
        for line in self.lines():
            if isinstance(line, Line):
                yield line.record

    def lines(
        self, *, only: Collection[str] | None = None
    ) -> Iterator[Line[R] | DamagedLine]:
        """Yield all lines of the kind by file name and number.

        With `only`, lines with other sha256 digests are not parsed at all.
        """
        for path in sorted(self.folder.glob(f"*/{self.kind.folder}/**/*.jsonl")):
            yield from _lines(path, self, only)


def _lines(
    path: Path, store: Store[R], only: Collection[str] | None = None
) -> Iterator[Line[R] | DamagedLine]:
    """Yield the complete lines of a file; a last line cut short by a crash is skipped."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return
    except OSError as error:
        raise RecordError(f"{path}: cannot be read: {error.strerror}") from error
    host_slug, record_id = path.relative_to(store.folder).as_posix().split("/", 1)
    place = RecordLocation(host_slug, record_id.removesuffix(".jsonl"))
    file = path.relative_to(store.reports).as_posix()
    *whole, torn = content.split(b"\n")
    if torn:
        _warn(path, f"{file}: skipping a last line that was cut short by a crash")
    for number, line in enumerate(whole, start=1):
        sha256 = hashlib.sha256(line + b"\n").hexdigest()
        if only is not None and sha256 not in only:
            continue
        try:
            record = store.kind.decode(line, where=f"{file}:{number}", place=place)
        except RecordError as error:
            _warn(path, f"skipping a line: {error}")
            yield DamagedLine(
                file=file,
                number=number,
                reason=str(error),
                newer=isinstance(error, NewerRecordError),
            )
        else:
            yield Line(file=file, number=number, sha256=sha256, record=record)


def _keep_aside(path: Path, line: bytes) -> str:
    """Write a line to the cache, or else to the temporary folder; return a remedy."""
    for folder in filter(None, (find_project().cache, temporary_folder())):
        aside = folder / "llamatrix-unwritten" / path.name
        try:
            aside.parent.mkdir(parents=True, exist_ok=True)
            with aside.open("ab") as file:
                file.write(line)
        except OSError:
            continue
        return f"it is kept: `cat {aside} >> {path}` adds it"
    return "it could not be kept elsewhere either"


@cache
def _warn(_path: Path, text: str) -> None:
    """Print a warning about a file once, however often it is read."""
    say(text)


def _move_torn_end(path: Path) -> None:
    """Move an incomplete last line to a `.torn` file, so that the next line is whole.

    Its record was never acknowledged.
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
        aside.flush()
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
