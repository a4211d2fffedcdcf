"""Files for programs: short names, numbers as numbers, and all of them in SQLite."""

import csv
import io
import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from tests.report.made_sweep import sweep
from tests.report.made_trials import several_trials

from llamatrix.errors import ReportError
from llamatrix.report.files import rows_by_name, texts_of
from llamatrix.report.render.rows import Rows, write_sqlite
from llamatrix.report.speed import groups
from llamatrix.report.trials import trial_groups


def everything() -> dict[str, Rows]:
    return rows_by_name(groups(sweep()), trial_groups(several_trials()))


def test_every_table_is_one_file_with_a_short_name() -> None:
    names = [name for name in texts_of(everything()) if name.startswith("tables/")]
    assert "tables/generation-speed.csv" in names
    assert "tables/agent-pass-rate.csv" in names
    assert max(map(len, names)) <= 50


def test_cells_of_numbers_are_unrounded_and_missing_ones_empty() -> None:
    text = texts_of(everything())["tables/prefill-speed.csv"]
    rows = list(csv.DictReader(io.StringIO(text)))
    heads = {"host", "weights", "pin", "build", "sweep"}
    assert heads < rows[0].keys()
    speeds = [
        value for row in rows for name, value in row.items() if "tokens/s" in name
    ]
    assert speeds
    assert all(float(speed) > 0 for speed in speeds if speed)


def test_database_has_every_row_with_its_type(tmp_path: Path) -> None:
    rows = everything()
    path = write_sqlite(tmp_path / "all.sqlite", rows)
    with closing(sqlite3.connect(path)) as database:
        for name, (header, lines) in rows.items():
            table = re.sub(r"\W", "_", name.rpartition("/")[2])
            found = database.execute(f'select * from "{table}"')  # noqa: S608
            assert [column[0] for column in found.description] == list(header)
            assert len(found.fetchall()) == len(lines)
        (mean,) = database.execute(
            "select avg(tokens_per_second) from speed where n_prompt = 512"
        ).fetchone()
        assert mean > 0
        kinds = {
            row[1]: row[2] for row in database.execute("pragma table_info('speed')")
        }
    assert kinds["n_prompt"] == "INTEGER"
    assert kinds["tokens_per_second"] == "REAL"
    assert list(tmp_path.iterdir()) == [path]


def test_database_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match=r"all\.sqlite: cannot be written"):
        write_sqlite(tmp_path / "gone" / "all.sqlite", {})
