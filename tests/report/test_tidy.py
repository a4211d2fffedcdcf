"""Exports hold every sample, raw, the same in both forms."""

import csv
import io
import json

import msgspec
from tests.records.made import made_record
from tests.report.made_sweep import sweep
from tests.shipped import ROOT

from llamatrix.engines.outcome import OutOfMemory
from llamatrix.report.speed import groups
from llamatrix.report.tidy import SPEED_HEADER, speed_csv, speed_json


def test_json_and_csv_hold_the_same_rows() -> None:
    found = groups(sweep())
    rows = json.loads(speed_json(found))
    lines = list(csv.DictReader(io.StringIO(speed_csv(found))))
    assert len(rows) == 4 * 4 * 2 * 3  # models × tests × processes × samples
    texts = [
        {key: "" if value is None else str(value) for key, value in row.items()}
        for row in rows
    ]
    assert texts == lines


def test_the_first_repetition_is_no_steady_sample_and_disturbed_rows_say_why() -> None:
    record = msgspec.structs.replace(made_record(), disturbed="foreign load")
    rows = json.loads(speed_json(groups([record])))
    assert [row["steady"] for row in rows] == ["no", "yes", "yes"]
    assert {row["disturbed"] for row in rows} == {"foreign load"}


def test_numbers_are_numbers_and_what_is_missing_is_null() -> None:
    failed = made_record(outcome=OutOfMemory(exit_code=1, tail=()), repeat=2)
    first, *_, last = json.loads(speed_json(groups([made_record(), failed])))
    assert first["tokens_per_second"] == 100.0
    assert first["sample"] == 1
    assert last["outcome"] == "out of memory"
    assert last["tokens_per_second"] is None


def test_the_schema_names_every_column() -> None:
    text = (ROOT / "reports" / "README.md").read_text()
    for column in SPEED_HEADER:
        assert f"| `{column}` |" in text
