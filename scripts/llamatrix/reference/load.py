"""Reads a reference set: syntax, types, then what one part says of another."""

from collections.abc import Collection, Iterator
from pathlib import Path

import msgspec

from llamatrix.config.complaint import complaints, nearest
from llamatrix.config.load import read_toml
from llamatrix.errors import MatrixError, ReportError
from llamatrix.reference.quantity import UNITS
from llamatrix.reference.reference_set import ReferenceSet, Relation, Statement, Table

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


def load_set(path: Path, *, models: Collection[str]) -> ReferenceSet:
    """The set, or ReportError with one line for each thing that is wrong.

    `models` are the keys of the matrix. A set may have others, and cards that nobody
    knows: the audit says then what it cannot check.
    """
    try:
        raw = read_toml(path)
    except MatrixError as error:
        raise ReportError(str(error)) from error
    found = list(complaints(raw, ReferenceSet))
    if not found:
        whole = msgspec.convert(raw, type=ReferenceSet)
        found = list(_contradictions(whole, models))
        if not found:
            return whole
    lines = [f"{path.name}: {line}" for line in found[:_SHOWN]]
    if len(found) > _SHOWN:
        lines.append(f"{path.name}: and {len(found) - _SHOWN} more")
    raise ReportError("\n".join(lines))


def _contradictions(whole: ReferenceSet, models: Collection[str]) -> Iterator[str]:
    for key, model in whole.models.items():
        if model.proxy_for is not None and model.proxy_for not in models:
            yield _unknown(f"models.{key}.proxy_for", model.proxy_for, models)
    for key, setup in whole.setups.items():
        for name in setup.models.keys() - whole.models.keys():
            yield _unknown(f"setups.{key}.models.{name}", name, whole.models)
    for key, table in whole.tables.items():
        yield from _in_table(whole, table, f"tables.{key}")
    for key, words in whole.words.items():
        for name in words.rows.keys() - whole.models.keys():
            yield _unknown(f"words.{key}.rows.{name}", name, whole.models)
    for key, statement in whole.statements.items():
        yield from _in_statement(whole, statement, f"statements.{key}")


def _in_statement(
    whole: ReferenceSet, statement: Statement, path: str
) -> Iterator[str]:
    for field in ("of", "than"):
        for name in getattr(statement, field):
            if name not in whole.models:
                yield _unknown(f"{path}.{field}", name, whole.models)
    for name in statement.tables:
        if name not in whole.tables:
            yield _unknown(f"{path}.tables", name, whole.tables)
    if (statement.is_ is Relation.TIMES) != (statement.factor is not None):
        yield f'{path}.factor: belongs to `is = "times"`, and to nothing else'


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
        for index, printed in enumerate(row):
            if isinstance(printed, tuple) and printed[0] > printed[1]:
                yield f"{path}.rows.{model}[{index}]: a range ends below its start"


def _unknown(path: str, name: str, known: Collection[str]) -> str:
    return f"{path}: unknown name {name!r}{nearest(name, known)}"
