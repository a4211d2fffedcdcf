"""Plain rows as tables of one SQLite file, with types that pandas and DuckDB keep."""

import re
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

from llamatrix.errors import ReportError


def write_sqlite(
    path: Path, tables: Mapping[str, tuple[Sequence[str], Sequence[Sequence[object]]]]
) -> Path:
    """Replace the file as a whole: a reader never sees half of it."""
    partial = path.with_suffix(".partial")
    try:
        partial.unlink(missing_ok=True)
        with closing(sqlite3.connect(partial)) as database, database:
            for name, (header, rows) in tables.items():
                _fill(
                    database, re.sub(r"\W", "_", name.rpartition("/")[2]), header, rows
                )
        partial.replace(path)
    except (OSError, sqlite3.Error) as error:
        raise ReportError(f"{path}: cannot be written: {error}") from error
    return path


def _fill(
    database: sqlite3.Connection,
    name: str,
    header: Sequence[str],
    rows: Sequence[Sequence[object]],
) -> None:
    kinds = [_kind(column) for column in zip(*rows, strict=True)] or ["TEXT"] * len(
        header
    )
    columns = ", ".join(
        f"{_quoted(column)} {kind}" for column, kind in zip(header, kinds, strict=True)
    )
    table = _quoted(name)
    database.execute(f"CREATE TABLE {table} ({columns})")
    places = ", ".join("?" * len(header))
    database.executemany(
        f"INSERT INTO {table} VALUES ({places})",  # noqa: S608
        (
            [_stored(value, kind) for value, kind in zip(row, kinds, strict=True)]
            for row in rows
        ),
    )


def _kind(values: Sequence[object]) -> str:
    kinds = {type(value) for value in values if value != ""}
    if kinds <= {int, bool} and kinds:
        return "INTEGER"
    return "REAL" if kinds and kinds <= {int, bool, float} else "TEXT"


def _stored(value: object, kind: str) -> object:
    if value == "":
        return None
    return str(value) if kind == "TEXT" else value


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
