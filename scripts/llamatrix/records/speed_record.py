"""Speed records: one test of a sweep and its conditions."""

import msgspec

from llamatrix.config.cell import Cell, SpeedTest
from llamatrix.config.lock import LockedPin
from llamatrix.engines.outcome import Done, Outcome, Process
from llamatrix.engines.registry import parse_unnamed_row
from llamatrix.measure.disturbances import Load
from llamatrix.measure.telemetry import Telemetry
from llamatrix.provision.build import Manifest
from llamatrix.provision.weights.provide import WeightsFacts
from llamatrix.records.store import Envelope, Fields, RecordKind, RecordLocation


class CellFacts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The cell as tables need it, and the digests that identify it."""

    id: str
    digest: str
    """Over spec, host class and compiler: a record is reused only for the same digest."""
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
    draft: str = ""
    """Of a server: `none`, or a name of `[drafts]`."""
    target_spread: float | None = None
    """Of the sweep when it was measured; None without a stopping rule."""


class SpeedRecord(Envelope, frozen=True, kw_only=True):
    cell: CellFacts
    test: SpeedTest
    repeat: int
    """Number of the sweep's repeat that this belongs to, from 1."""
    outcome: Outcome
    process: Process
    locked: LockedPin
    build: Manifest
    weights: WeightsFacts
    telemetry: Telemetry
    load: Load = Load()
    """Background load while this test ran."""
    disturbed: str = ""
    """Why the headline leaves the result out; empty where it counts."""

    @property
    def record_id(self) -> str:
        return self.cell.id


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
        draft=cell.draft_key,
        target_spread=cell.sweep.target_spread,
    )


class _Result(msgspec.Struct):
    row: msgspec.Raw


class _Outcome(msgspec.Struct):
    result: _Result | None = None
    """Of a finished test alone."""


def outcome_from_1(fields: Fields, _place: RecordLocation) -> Fields:
    """Migrate an `outcome` of schema 1, which held only llama-bench's row."""
    outcome = msgspec.json.decode(bytes(fields["outcome"]), type=_Outcome)
    if outcome.result is None:
        return fields
    done = Done(result=parse_unnamed_row(bytes(outcome.result.row)))
    return {**fields, "outcome": msgspec.Raw(msgspec.json.encode(done))}


SPEED = RecordKind(folder="speed", holds=SpeedRecord, migrations={1: outcome_from_1})
SERVE_SPEED = RecordKind(folder="serve-speed", holds=SpeedRecord, migrations={})


def kind_of(cell: Cell) -> RecordKind[SpeedRecord]:
    """Return the kind of a cell's records."""
    return SERVE_SPEED if cell.draft_key else SPEED
