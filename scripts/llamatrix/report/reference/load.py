"""Reads a reference set: syntax, types, then what one part says of another."""

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import msgspec

from llamatrix.errors import MatrixError, ReportError
from llamatrix.plan.complaint import complaints, nearest
from llamatrix.plan.load import read_toml
from llamatrix.report.reference.conditions import Conditions
from llamatrix.report.reference.gpu import Gpu
from llamatrix.report.reference.quantity import UNITS
from llamatrix.report.reference.reference_set import ReferenceSet, Table

_SHOWN = 5


def find_set(name: str, folder: Path) -> Path:
    """The file of a set: its name in `folder`, or a path to any file of that form."""
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


def load_set(
    path: Path, *, models: Collection[str], gpus: Mapping[str, Gpu]
) -> ReferenceSet:
    """The set, or ReportError with one line for each thing that is wrong.

    `models` are the keys of the matrix; `gpus` those of `gpus.toml`.
    """
    try:
        raw = read_toml(path)
    except MatrixError as error:
        raise ReportError(str(error)) from error
    found = list(complaints(raw, ReferenceSet))
    if not found:
        whole = msgspec.convert(raw, type=ReferenceSet)
        found = list(_contradictions(whole, models, {*gpus, *whole.gpus}))
        if not found:
            return whole
    lines = [f"{path.name}: {line}" for line in found[:_SHOWN]]
    if len(found) > _SHOWN:
        lines.append(f"{path.name}: and {len(found) - _SHOWN} more")
    raise ReportError("\n".join(lines))


def _contradictions(
    whole: ReferenceSet, models: Collection[str], gpus: Collection[str]
) -> Iterator[str]:
    yield from _in_models(whole, models)
    for path, conditions in _all_conditions(whole):
        if conditions.gpu is not None and conditions.gpu not in gpus:
            yield _unknown(f"{path}.gpu", conditions.gpu, gpus)
    for key, setup in whole.setups.items():
        for name in setup.models.keys() - whole.models.keys():
            yield _unknown(f"setups.{key}.models.{name}", name, whole.models)
    for key, table in whole.tables.items():
        yield from _in_table(whole, table, f"tables.{key}")
    for key, words in whole.words.items():
        for name in words.rows.keys() - whole.models.keys():
            yield _unknown(f"words.{key}.rows.{name}", name, whole.models)


def _in_models(whole: ReferenceSet, models: Collection[str]) -> Iterator[str]:
    for key, model in whole.models.items():
        if model.proxy_for is None and key not in models:
            yield (
                f"models.{key}: no model of the matrix{nearest(key, models)} "
                "(or name the one it stands for in proxy_for)"
            )
        elif model.proxy_for is not None and model.proxy_for not in models:
            yield _unknown(f"models.{key}.proxy_for", model.proxy_for, models)


def _in_table(whole: ReferenceSet, table: Table, path: str) -> Iterator[str]:
    if table.setup is not None and table.setup not in whole.setups:
        yield _unknown(f"{path}.setup", table.setup, whole.setups)
    ids = [column.id for column in table.columns]
    for index, column in enumerate(table.columns):
        if column.id in ids[:index]:
            yield f"{path}.columns[{index}].id: {column.id!r} stands twice"
        allowed = sorted(UNITS[column.quantity])
        if column.unit not in allowed:
            yield (
                f"{path}.columns[{index}].unit: {column.unit.value!r} is no unit of "
                f"{column.quantity}; use {' or '.join(allowed)}"
            )
    for model, row in table.rows.items():
        if model not in whole.models:
            yield _unknown(f"{path}.rows.{model}", model, whole.models)
        if len(row) != len(ids):
            yield f"{path}.rows.{model}: {len(row)} numbers for {len(ids)} columns"


def _all_conditions(whole: ReferenceSet) -> Iterator[tuple[str, Conditions]]:
    yield "conditions", whole.conditions
    for key, model in whole.models.items():
        yield f"models.{key}.conditions", model.conditions
    for key, setup in whole.setups.items():
        yield f"setups.{key}.conditions", setup.conditions
        for name, conditions in setup.models.items():
            yield f"setups.{key}.models.{name}", conditions
    for key, table in whole.tables.items():
        for index, column in enumerate(table.columns):
            yield f"tables.{key}.columns[{index}].conditions", column.conditions


def _unknown(path: str, name: str, known: Collection[str]) -> str:
    return f"{path}: unknown name {name!r}{nearest(name, known)}"
