"""A kind of record: where its files are kept, and how its lines are read and written."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, NamedTuple, Protocol, TypeVar

import msgspec

from llamatrix.errors import RecordError
from llamatrix.host import Host
from llamatrix.records.envelope import SCHEMA_VERSION

Fields = dict[str, msgspec.Raw]
"""The top level of a record's line; the values are still JSON."""

_FIRST_WITH_CHECKSUM = 2
_CHECKSUM = b',"checksum":"'


class Place(NamedTuple):
    """Where a line stands, which older records do not say themselves."""

    host_slug: str
    record_id: str


Migration = Callable[[Fields, Place], Fields]


class NewerRecordError(RecordError):
    """The record was written by a newer llamatrix than this one."""


class Stored(Protocol):
    """What the store needs to know of a record of any kind."""

    @property
    def host(self) -> Host: ...

    @property
    def measured_at(self) -> str: ...

    @property
    def record_id(self) -> str:
        """The path of its file below the host's folder, without the suffix."""
        ...


R = TypeVar("R", bound=Stored)


class _Version(msgspec.Struct):
    schema_version: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind(Generic[R]):
    folder: str
    """Below each host's folder; every id of this kind begins with it: `speed`."""
    holds: type[R]
    migrations: Mapping[int, Migration]
    """From a schema version to the function that makes the next version of it."""
    root: str = "records"
    """The folder below `reports` that holds a folder for each host."""
    unversioned: bool = False
    """Whether lines of schema 1 carry no version."""

    def encode(self, record: R) -> bytes:
        """Return the record's line, newline and checksum included."""
        return sealed(msgspec.json.encode(record))

    def decode(self, line: bytes, *, where: str, place: Place) -> R:
        """Read one line without its newline.

        RecordError names `where` if the line is damaged, NewerRecordError if its schema
        is newer than this program.
        """
        try:
            version = msgspec.json.decode(line, type=_Version).schema_version
            if version is None and self.unversioned:
                version = 1
            if version is None:
                raise RecordError(f"{where}: not a record: it has no schema_version")
            if version > SCHEMA_VERSION:
                raise NewerRecordError(
                    f"{where}: written by a newer llamatrix (schema {version}, this one "
                    f"reads up to {SCHEMA_VERSION}); update this checkout"
                )
            if version >= _FIRST_WITH_CHECKSUM:
                _check(line, where)
            if version == SCHEMA_VERSION:
                return msgspec.json.decode(line, type=self.holds)
            return self._migrated(line, version, where, place)
        except KeyError as error:
            raise RecordError(f"{where}: not a record: it has no {error}") from error
        except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
            raise RecordError(f"{where}: not a record: {error}") from error

    def _migrated(self, line: bytes, version: int, where: str, place: Place) -> R:
        fields = msgspec.json.decode(line, type=Fields)
        while version < SCHEMA_VERSION:
            migrate = self.migrations.get(version)
            if migrate is None:
                raise RecordError(f"{where}: no migration from schema {version}")
            version += 1
            fields = migrate(fields, place)
        return msgspec.json.decode(msgspec.json.encode(fields), type=self.holds)


def sealed(record: bytes) -> bytes:
    """Return a record's JSON as a line with its schema version and checksum."""
    text = b'{"schema_version":%d,' % SCHEMA_VERSION + record[1:]
    digest = hashlib.sha256(text).hexdigest().encode()
    return text[:-1] + _CHECKSUM + digest + b'"}\n'


def _check(line: bytes, where: str) -> None:
    text, _, rest = line.rpartition(_CHECKSUM)
    digest = hashlib.sha256(text + b"}").hexdigest()
    if rest != digest.encode() + b'"}':
        raise RecordError(
            f"{where}: damaged: the line's checksum is {digest[:12]}…, it says "
            f"{rest[:12].decode(errors='replace')}…"
        )


def unchanged(fields: Fields, _place: Place) -> Fields:
    """Migrate a record whose fields are the same in the next schema."""
    return fields
