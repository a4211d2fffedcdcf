"""Context records: a search for the largest context, and its conditions."""

import msgspec

from llamatrix.config.cell import Cell, sha256_of
from llamatrix.config.lock import LockedPin
from llamatrix.config.matrix import Model, Server
from llamatrix.measure.context.result import SETTLED, SearchResult
from llamatrix.provision.build import Manifest
from llamatrix.provision.weights.provide import WeightsFacts
from llamatrix.records.store import Envelope, RecordKind, keep_fields

CONTEXT_VERSION = 1
"""Increased by hand when the search changes: earlier results are not reused."""


class SearchLimits(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The user's choices for a search."""

    min_speed_ratio: float = msgspec.field(name="keep_speed")
    """Of the generation speed at a small context."""
    vram_bytes: int | None = None
    """Memory of the card that it may use; None for all that is free."""
    max_tokens: int | None = msgspec.field(default=None, name="most_tokens")


class ContextCell(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    digest: str
    """Over limits, pin, build, weights, server flags, host class and compiler."""
    model_key: str
    model_name: str
    architecture: str
    quant: str
    pin: str
    build: str


class ContextRecord(Envelope, frozen=True, kw_only=True):
    cell: ContextCell
    limits: SearchLimits = msgspec.field(name="asked")
    result: SearchResult = msgspec.field(name="found")
    model: Model
    """As served, except for the context."""
    server: Server
    argv: tuple[str, ...]
    """Of the last server that became ready, without folders; empty where none did."""
    locked: LockedPin
    build: Manifest
    weights: WeightsFacts

    @property
    def record_id(self) -> str:
        return self.cell.id

    @property
    def settled(self) -> bool:
        """Whether the search need not be repeated."""
        return self.result.stop in SETTLED


CONTEXT = RecordKind(folder="context", holds=ContextRecord, migrations={1: keep_fields})


def context_cell(
    cell: Cell,
    limits: SearchLimits,
    server: Server,
    *,
    template_sha256: str,
    host_slug: str,
    compiler: str,
) -> ContextCell:
    """Return the cell of a search on the model, pin and build of a speed cell."""
    inputs = (
        CONTEXT_VERSION,
        limits,
        (cell.model_key, cell.weights, cell.weights_identity),
        (cell.locked.commit, cell.locked.nar_hash, cell.pin.build_number),
        cell.build,
        msgspec.structs.replace(cell.model, ctx_size=1),
        server,
        template_sha256,
        (host_slug, compiler),
    )
    parts = (CONTEXT.folder, cell.weights_key, cell.pin_key, cell.build_key)
    return ContextCell(
        id="/".join(parts),
        digest=sha256_of(inputs),
        model_key=cell.model_key,
        model_name=cell.model.name,
        architecture=cell.model.architecture,
        quant=cell.model.quant,
        pin=cell.pin_key,
        build=cell.build_key,
    )
