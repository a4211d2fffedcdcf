"""What one line of the store holds, and how older lines become readable."""

from collections.abc import Callable

import msgspec

from llamatrix.errors import RecordError
from llamatrix.host import Host
from llamatrix.measure.outcome import Outcome
from llamatrix.measure.speed import Process
from llamatrix.measure.telemetry import Telemetry
from llamatrix.plan.cell import Cell, SpeedTest
from llamatrix.plan.lock import LockedPin
from llamatrix.provision.build import Manifest
from llamatrix.provision.weights import WeightsFacts

SCHEMA_VERSION = 1


class CellFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The cell as a table needs it, and the digests that identify it."""

    id: str
    digest: str
    """Spec, host class and compiler: a record is reused only under the same one."""
    spec_digest: str
    measurement: str
    model_key: str
    model_name: str
    architecture: str
    quant: str
    active_params: str
    pin: str
    build: str
    sweep: str


class Record(msgspec.Struct, frozen=True, kw_only=True):
    schema_version: int
    cell: CellFacts
    test: SpeedTest
    repeat: int
    """Which fresh repeat of the sweep this belongs to, from 1."""
    outcome: Outcome
    measured_at: str
    """UTC, ISO 8601: when the outcome was known."""
    process: Process
    locked: LockedPin
    build: Manifest
    weights: WeightsFacts
    host: Host
    telemetry: Telemetry
    made_by: str
    """`llamatrix` and its version."""


def cell_facts(cell: Cell, *, digest: str) -> CellFacts:
    return CellFacts(
        id=cell.id,
        digest=digest,
        spec_digest=cell.spec_digest,
        measurement=cell.measurement,
        model_key=cell.model_key,
        model_name=cell.model.name,
        architecture=cell.model.architecture,
        quant=cell.model.quant,
        active_params=cell.model.active_params,
        pin=cell.pin_key,
        build=cell.build_key,
        sweep=cell.sweep_key,
    )


MIGRATIONS: dict[int, Callable[[dict[str, object]], dict[str, object]]] = {}
"""From a schema version to the function that makes the next one of it."""


class _Version(msgspec.Struct):
    schema_version: int


_decoder = msgspec.json.Decoder(Record)
_version_decoder = msgspec.json.Decoder(_Version)


def decode_record(line: bytes, *, where: str) -> Record:
    """Read one line of the store; RecordError names `where` it cannot be read."""
    try:
        version = _version_decoder.decode(line).schema_version
        if version == SCHEMA_VERSION:
            return _decoder.decode(line)
    except msgspec.DecodeError as error:
        raise RecordError(
            f"{where}: not a record: {error}; the file is left as it is. Move the line "
            "to another file to go on without it"
        ) from error
    if version > SCHEMA_VERSION:
        raise RecordError(
            f"{where}: written by a newer llamatrix (schema {version}, this one reads "
            f"up to {SCHEMA_VERSION}); update this checkout"
        )
    return _migrated(msgspec.json.decode(line, type=dict[str, object]), version, where)


def _migrated(raw: dict[str, object], version: int, where: str) -> Record:
    while version < SCHEMA_VERSION:
        step = MIGRATIONS.get(version)
        if step is None:
            raise RecordError(f"{where}: no way to read schema {version} is known")
        raw = step(raw)
        version += 1
    return _decoder.decode(msgspec.json.encode(raw))
