"""What one line of speed holds: one test of llama-bench and its conditions."""

import msgspec

from llamatrix.host import Host
from llamatrix.measure.outcome import Outcome
from llamatrix.measure.speed import Process
from llamatrix.measure.telemetry import Telemetry
from llamatrix.plan.cell import Cell, SpeedTest
from llamatrix.plan.lock import LockedPin
from llamatrix.provision.build import Manifest
from llamatrix.provision.weights import WeightsFacts
from llamatrix.record.kind import Kind, Migration

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


MIGRATIONS: dict[int, Migration] = {}
SPEED = Kind(
    folder="speed", holds=Record, version=SCHEMA_VERSION, migrations=MIGRATIONS
)


def decode_record(line: bytes, *, where: str) -> Record:
    """Read one line of a speed record; RecordError names `where` it cannot be read."""
    return SPEED.decode(line, where=where)
