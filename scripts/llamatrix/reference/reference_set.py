"""The types of `reports/published/*.toml`: a source and the tables it printed.

A set is one file and needs no code. A table is written as it was printed: columns,
and one row of numbers for each model. Every number becomes a claim with the id
`table/model/column`, for example `prefill/qwen35-27b/2048`.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct, field

from llamatrix.config.complaint import complaints, nearest
from llamatrix.config.load import read_toml
from llamatrix.config.matrix import Key, Positive
from llamatrix.errors import MatrixError, ReportError
from llamatrix.reference.conditions import Conditions, Date, merge_conditions
from llamatrix.reference.gpu import Gpu
from llamatrix.reference.quantity import (
    COUNTS,
    UNITS,
    Interval,
    Quantity,
    Rounding,
    Unit,
    base_interval,
    decimals,
    printed_interval,
)

ColumnId = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9-]*(/[a-z0-9][a-z0-9-]*)*$")]
Number = Annotated[float, Meta(ge=0)]


class Grade(StrEnum):
    A = "A"
    """Method and build stated."""
    B = "B"
    """Stated in part."""
    C = "C"
    """Rounded or second-hand."""


class Statistic(StrEnum):
    """Which of several measured values was printed."""

    MEAN = "mean"
    SINGLE = "single"
    LOWEST = "lowest"
    HIGHEST = "highest"
    UNSTATED = "unstated"


class Relation(StrEnum):
    """What a sentence states about figures of the tables."""

    ABOVE = "above"
    BELOW = "below"
    TIMES = "times"
    LARGEST_THAT_FITS = "largest that fits"
    """A context: no larger one fits on the card."""


class Source(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    title: str
    author: str = "not stated"
    where: str
    """An address, without its scheme."""
    date: Date | None = None
    """Of publication; None where not stated."""
    grade: Grade
    about: str = ""
    not_said: tuple[str, ...] = ()
    """Missing information that a repetition would need."""
    says: tuple[str, ...] = ()
    """Remarks of the source that matter for a repetition."""


class AttentionShape(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Layers of one kind with a cache of keys and values."""

    layers: Positive
    kv_heads: Positive
    head_dim: Positive
    heads: Positive | None = None
    """Of the queries; None where not stated: then as many as `kv_heads`."""
    window_tokens: Positive | None = None


class PublishedShape(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The shape of a model that is not in the matrix, as the limits need it."""

    total_params_b: Annotated[float, Meta(gt=0)]
    active_params_b: Annotated[float, Meta(gt=0)] | None = None
    """Per token; None where all are."""
    attention: tuple[AttentionShape, ...] = ()
    state_bytes: Annotated[int, Meta(ge=0)] = 0
    """Of recurrent layers, per sequence."""
    trained_tokens: Positive | None = None


class PublishedModel(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: str
    """As printed."""
    proxy_for: Key | None = None
    """A model of the matrix with the same architecture; None where it is that model
    itself, or where the matrix has none."""
    architecture: str | None = None
    shape: PublishedShape | None = None
    conditions: Conditions = Conditions()


class Setup(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Conditions shared by several tables, and those that differ by model."""

    conditions: Conditions = Conditions()
    models: dict[Key, Conditions] = {}


class Column(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    id: ColumnId
    quantity: Quantity
    unit: Unit
    step: Annotated[float, Meta(gt=0)]
    """The value of one count in the last printed digit."""
    rounding: Rounding = Rounding.NEAREST
    statistic: Statistic = Statistic.UNSTATED
    conditions: Conditions = Conditions()


Range = Annotated[tuple[Number, ...], Meta(min_length=2, max_length=2)]
"""Two ends, as `[40, 45]`; of any length by its type, since msgspec 0.22 crashes on a
fixed one in a union."""
Printed = Number | Range


class Table(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    title: str
    setup: Key | None = None
    about: str = ""
    columns: tuple[Column, ...]
    rows: dict[Key, tuple[Printed, ...]]
    """By model, in the order of the columns."""


class Statement(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A sentence of the source about the order or ratio of its figures."""

    says: str
    """Its wording."""
    quantity: Quantity
    is_: Relation = field(name="is")
    of: tuple[Key, ...] = ()
    """The models it is about; empty for all."""
    than: tuple[Key, ...] = ()
    """The models they are compared with; empty for all others."""
    factor: Annotated[float, Meta(gt=0)] | None = None
    """The ratio, where the relation is `times`."""
    step: Annotated[float, Meta(gt=0)] = 1.0
    rounding: Rounding = Rounding.NEAREST
    tables: tuple[Key, ...] = ()
    """The tables of these figures; empty for all."""
    conditions: Conditions = Conditions()
    """The conditions of these figures."""


class Words(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of judgements; shown, never compared."""

    title: str
    judge: str
    rows: dict[Key, dict[str, str]]
    """By model and aspect."""


class ReferenceSet(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    schema_version: Annotated[int, Meta(ge=1, le=1)]
    source: Source
    conditions: Conditions = Conditions()
    models: dict[Key, PublishedModel]
    setups: dict[Key, Setup] = {}
    gpus: dict[Key, Gpu] = {}
    """GPUs that are not in `gpus.toml`."""
    tables: dict[Key, Table]
    statements: dict[Key, Statement] = {}
    words: dict[Key, Words] = {}

    def claims(self) -> "tuple[Claim, ...]":
        return tuple(claim for key in self.tables for claim in _table_claims(self, key))


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    id: str
    model: str
    """Its key in the set."""
    proxy_for: str | None
    table: str
    column: str
    quantity: Quantity
    unit: Unit
    value: float
    """The middle of a range."""
    step: float
    rounding: Rounding
    statistic: Statistic
    conditions: Conditions
    grade: Grade
    ends: tuple[float, ...] | None = None
    """Of a printed range; None for a single number."""
    shape: PublishedShape | None = None

    @property
    def architecture_key(self) -> str:
        """The model of the matrix whose architecture it has."""
        return self.proxy_for or self.model

    @property
    def printed(self) -> Interval:
        """Where the true value can lie, in `unit`."""
        if self.unit in COUNTS and (self.step, self.rounding) == (1, Rounding.NEAREST):
            first, last = self.ends or (self.value, self.value)
            return Interval(low=first, high=last)
        low, high = (
            printed_interval(value, step=self.step, rounding=self.rounding)
            for value in self.ends or (self.value, self.value)
        )
        return Interval(low=low.low, high=high.high)

    @property
    def interval(self) -> Interval:
        """Where the true value can lie, in base units."""
        return base_interval(self.printed, self.unit)

    @property
    def text(self) -> str:
        """As printed: `~135 tokens/s`."""
        return f"{self.figure} {self.unit}"

    @property
    def figure(self) -> str:
        tilde = "~" if self.rounding is Rounding.ABOUT else ""
        figures = (
            f"{value:,.{decimals(self.step)}f}" for value in self.ends or (self.value,)
        )
        return tilde + "–".join(figures)


def _table_claims(reference_set: ReferenceSet, key: str) -> Iterator[Claim]:
    table = reference_set.tables[key]
    setup = reference_set.setups[table.setup] if table.setup else Setup()
    for model, row in table.rows.items():
        published = reference_set.models[model]
        conditions = merge_conditions(
            reference_set.conditions,
            published.conditions,
            setup.conditions,
            setup.models.get(model, Conditions()),
        )
        for column, printed in zip(table.columns, row, strict=True):
            ends = printed if isinstance(printed, tuple) else None
            value = sum(printed) / 2 if isinstance(printed, tuple) else printed
            yield Claim(
                id=f"{key}/{model}/{column.id}",
                model=model,
                proxy_for=published.proxy_for,
                table=key,
                column=column.id,
                quantity=column.quantity,
                unit=column.unit,
                value=value,
                step=column.step,
                rounding=column.rounding,
                statistic=column.statistic,
                conditions=merge_conditions(conditions, column.conditions),
                grade=reference_set.source.grade,
                ends=ends,
                shape=published.shape,
            )


_SHOWN = 5


def find_set(name: str, folder: Path) -> Path:
    """Return the file of a set, by its name in `folder` or by a path."""
    named = folder / f"{name}.toml"
    if named.is_file():
        return named
    if name.endswith(".toml") and Path(name).is_file():
        return Path(name)
    known = [path.stem for path in folder.glob("*.toml")]
    raise ReportError(
        f"reference set {name!r}: no file and no set in {folder.name}/"
        f"{nearest(name, known)}"
    )


def load_set(path: Path, *, models: Collection[str]) -> ReferenceSet:
    """Load a set; raise ReportError with one line per mistake.

    `models` are the keys of the matrix. A set may have other models and unknown cards:
    the audit then reports what it cannot check.
    """
    try:
        raw = read_toml(path)
    except MatrixError as error:
        raise ReportError(str(error)) from error
    problems = list(complaints(raw, ReferenceSet))
    if not problems:
        reference_set = msgspec.convert(raw, type=ReferenceSet)
        problems = list(_contradictions(reference_set, models))
        if not problems:
            return reference_set
    lines = [f"{path.name}: {line}" for line in problems[:_SHOWN]]
    if len(problems) > _SHOWN:
        lines.append(f"{path.name}: and {len(problems) - _SHOWN} more")
    raise ReportError("\n".join(lines))


def _contradictions(
    reference_set: ReferenceSet, models: Collection[str]
) -> Iterator[str]:
    for key, model in reference_set.models.items():
        if model.proxy_for is not None and model.proxy_for not in models:
            yield _unknown(f"models.{key}.proxy_for", model.proxy_for, models)
    for key, setup in reference_set.setups.items():
        for name in setup.models.keys() - reference_set.models.keys():
            yield _unknown(f"setups.{key}.models.{name}", name, reference_set.models)
    for key, table in reference_set.tables.items():
        yield from _in_table(reference_set, table, f"tables.{key}")
    for key, words in reference_set.words.items():
        for name in words.rows.keys() - reference_set.models.keys():
            yield _unknown(f"words.{key}.rows.{name}", name, reference_set.models)
    for key, statement in reference_set.statements.items():
        yield from _in_statement(reference_set, statement, f"statements.{key}")


def _in_statement(
    reference_set: ReferenceSet, statement: Statement, path: str
) -> Iterator[str]:
    for key, names in (("of", statement.of), ("than", statement.than)):
        for name in names:
            if name not in reference_set.models:
                yield _unknown(f"{path}.{key}", name, reference_set.models)
    for name in statement.tables:
        if name not in reference_set.tables:
            yield _unknown(f"{path}.tables", name, reference_set.tables)
    if (statement.is_ is Relation.TIMES) != (statement.factor is not None):
        yield f'{path}.factor: belongs to `is = "times"`, and to nothing else'


def _in_table(reference_set: ReferenceSet, table: Table, path: str) -> Iterator[str]:
    if table.setup is not None and table.setup not in reference_set.setups:
        yield _unknown(f"{path}.setup", table.setup, reference_set.setups)
    ids = [column.id for column in table.columns]
    for index, column in enumerate(table.columns):
        if column.id in ids[:index]:
            yield f"{path}.columns[{index}].id: {column.id!r} is used twice"
        allowed = sorted(UNITS[column.quantity])
        if column.unit not in allowed:
            yield (
                f"{path}.columns[{index}].unit: {column.unit.value!r} is not a unit of "
                f"{column.quantity}; use {' or '.join(allowed)}"
            )
    for model, row in table.rows.items():
        if model not in reference_set.models:
            yield _unknown(f"{path}.rows.{model}", model, reference_set.models)
        if len(row) != len(ids):
            yield f"{path}.rows.{model}: {len(row)} numbers for {len(ids)} columns"
        for index, printed in enumerate(row):
            if isinstance(printed, tuple) and printed[0] > printed[1]:
                yield f"{path}.rows.{model}[{index}]: a range ends below its start"


def _unknown(path: str, name: str, known: Collection[str]) -> str:
    return f"{path}: unknown name {name!r}{nearest(name, known)}"
