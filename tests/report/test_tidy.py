"""Exports hold every sample, raw, the same in both forms."""

import csv
import io
import json
from collections.abc import Iterable
from typing import Any

import msgspec
from tests.records.made import made_record
from tests.report.made_sweep import sweep
from tests.shipped import ROOT

from llamatrix.engines.outcome import OutOfMemory
from llamatrix.report.files import rows_by_name, texts_of
from llamatrix.report.speed import Group, groups
from llamatrix.report.tidy import SPEED_HEADER


def files(found: Iterable[Group]) -> dict[str, str]:
    return texts_of(rows_by_name(list(found), []))


def speed_json(found: Iterable[Group]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(files(found)["speed.json"])
    return rows


def test_json_and_csv_hold_the_same_rows() -> None:
    found = groups(sweep())
    rows = speed_json(found)
    lines = list(csv.DictReader(io.StringIO(files(found)["speed.csv"])))
    assert len(rows) == 4 * 4 * 2 * 3  # models × tests × processes × samples
    texts = [
        {key: "" if value is None else str(value) for key, value in row.items()}
        for row in rows
    ]
    assert texts == lines


def test_the_first_repetition_is_no_steady_sample_and_disturbed_rows_say_why() -> None:
    record = msgspec.structs.replace(made_record(), disturbed="foreign load")
    rows = speed_json(groups([record]))
    assert [row["phase"] for row in rows] == ["first", "steady", "steady"]
    assert {row["disturbed"] for row in rows} == {"foreign load"}


def test_numbers_are_numbers_and_what_is_missing_is_null() -> None:
    failed = made_record(outcome=OutOfMemory(exit_code=1, tail=()), repeat=2)
    first, *_, last = speed_json(groups([made_record(), failed]))
    assert first["tokens_per_second"] == 100.0
    assert (first["sample"], first["n_prompt"], first["n_gen"]) == (1, 512, 0)
    assert (first["quant"], first["n_depth"]) == ("Q4_K_XL", 0)
    assert last["outcome"] == "out of memory"
    assert last["tokens_per_second"] is None


def test_the_schema_names_every_column() -> None:
    text = (ROOT / "reports" / "README.md").read_text()
    for column in SPEED_HEADER:
        assert f"`{column}`" in text
