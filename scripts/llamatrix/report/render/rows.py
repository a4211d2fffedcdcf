"""Plain rows for programs: as CSV, as JSON, and as tables of one SQLite file."""

import csv
import io
import re
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

import msgspec

from llamatrix.errors import ReportError

Rows = tuple[tuple[str, ...], list[tuple[object, ...]]]
"""A header, and rows below it; an empty text is no value."""


def rows_csv(rows: Rows) -> str:
    """RFC 4180 with Unix line ends; numbers unrounded as Python writes them."""
    header, lines = rows
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([header, *lines])
    return out.getvalue()


def rows_json(rows: Rows) -> str:
    """An array of objects, one a line; null where CSV is empty."""
    header, lines = rows
    objects = (
        dict(
            zip(header, (None if value == "" else value for value in line), strict=True)
        )
        for line in lines
    )
    texts = (msgspec.json.encode(each).decode() for each in objects)
    return "[\n" + ",\n".join(texts) + "\n]\n"


def write_sqlite(path: Path, tables: Mapping[str, Rows]) -> Path:
    """Replace the file as a whole: a reader never sees half of it.

    Columns have types that pandas and DuckDB keep.
    """
    partial = path.with_suffix(".partial")
    try:
        partial.unlink(missing_ok=True)
        with closing(sqlite3.connect(partial)) as database, database:
            for name, rows in tables.items():
                table = re.sub(r"\W", "_", name.rpartition("/")[2])
                _fill(database, _quoted(table), rows)
        partial.replace(path)
    except (OSError, sqlite3.Error) as error:
        raise ReportError(f"{path}: cannot be written: {error}") from error
    return path


def _fill(database: sqlite3.Connection, table: str, rows: Rows) -> None:
    header, lines = rows
    kinds = [_kind(column) for column in zip(*lines, strict=True)]
    kinds = kinds or ["TEXT"] * len(header)
    named = zip(map(_quoted, header), kinds, strict=True)
    columns = ", ".join(f"{name} {kind}" for name, kind in named)
    database.execute(f"CREATE TABLE {table} ({columns})")
    places = ", ".join("?" * len(header))
    database.executemany(
        f"INSERT INTO {table} VALUES ({places})",  # noqa: S608
        (
            [_stored(value, kind) for value, kind in zip(line, kinds, strict=True)]
            for line in lines
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
