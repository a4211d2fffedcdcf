"""A kind of record: where a host keeps its lines, and how older ones become readable."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

import msgspec

from llamatrix.errors import RecordError
from llamatrix.host import Host

Migration = Callable[[dict[str, object]], dict[str, object]]


class Identified(Protocol):
    @property
    def id(self) -> str: ...


class Kept(Protocol):
    """What every record tells, whatever was measured."""

    @property
    def host(self) -> Host: ...

    @property
    def cell(self) -> Identified: ...


R = TypeVar("R", bound=Kept)


class _Version(msgspec.Struct):
    schema_version: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind(Generic[R]):
    folder: str
    """Below each host's; every cell id of this kind begins with it: `speed`."""
    holds: type[R]
    version: int
    """The `schema_version` of what is written now."""
    migrations: Mapping[int, Migration] = field(default_factory=dict)
    """From a schema version to the function that makes the next one of it."""

    def decode(self, line: bytes, *, where: str) -> R:
        """Read one line of the store; RecordError names `where` it cannot be read."""
        try:
            version = msgspec.json.decode(line, type=_Version).schema_version
            if version == self.version:
                return msgspec.json.decode(line, type=self.holds)
        except msgspec.DecodeError as error:
            raise RecordError(
                f"{where}: not a record: {error}; the file is left as it is. Move the "
                "line to another file to go on without it"
            ) from error
        if version > self.version:
            raise RecordError(
                f"{where}: written by a newer llamatrix (schema {version}, this one "
                f"reads up to {self.version}); update this checkout"
            )
        raw = msgspec.json.decode(line, type=dict[str, object])
        return self._migrated(raw, version, where)

    def _migrated(self, raw: dict[str, object], version: int, where: str) -> R:
        while version < self.version:
            step = self.migrations.get(version)
            if step is None:
                raise RecordError(f"{where}: no way to read schema {version} is known")
            raw = step(raw)
            version += 1
        return msgspec.json.decode(msgspec.json.encode(raw), type=self.holds)
