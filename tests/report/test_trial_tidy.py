"""Exports hold every turn, raw, the same in both forms."""

import csv
import io
import json
from collections.abc import Iterable
from typing import Any

from tests.report.made_trials import NO_SANDBOX, made_trial, several_trials
from tests.shipped import ROOT

from llamatrix.report.files import rows_by_name, texts_of
from llamatrix.report.tidy import TRIAL_HEADER, TURN_HEADER
from llamatrix.report.trials import TrialGroup, trial_groups
from llamatrix.trials.trial_result import Correct, Incorrect


def texts(found: Iterable[TrialGroup]) -> dict[str, str]:
    return texts_of(rows_by_name([], list(found)))


def rows_of(name: str, found: Iterable[TrialGroup]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(texts(found)[f"{name}.json"])
    return rows


def test_json_and_csv_hold_the_same_rows() -> None:
    found = trial_groups(several_trials())
    for name, count in (("trials", 7), ("turns", 1 + 2 + 3 + 2 + 1)):
        rows = rows_of(name, found)
        lines = list(csv.DictReader(io.StringIO(texts(found)[f"{name}.csv"])))
        assert len(rows) == count
        assert lines == [
            {key: "" if value is None else str(value) for key, value in row.items()}
            for row in rows
        ]


def test_seconds_of_trials_sum_to_what_they_took() -> None:
    trials = several_trials()
    rows = rows_of("trials", trial_groups(trials))
    seconds = sum(trial.result.seconds for trial in trials)
    assert sum(row["trial_s"] for row in rows) == seconds
    assert not {"trial_s", "joules", "memory_bytes"} & set(TURN_HEADER)


def test_the_sums_of_a_trials_rows_are_those_of_its_table() -> None:
    rows = rows_of("turns", trial_groups([made_trial(outcome=Correct(turn=2))]))
    assert [row["turn"] for row in rows] == [1, 2]
    assert sum(row["generated_tokens"] for row in rows) == 2868  # two rounded halves
    assert [row["verdict"] for row in rows] == ["failed", "passed"]
    assert [row["failed_checks"] for row in rows] == ["tests-pass", None]


def test_a_trial_that_was_never_correct_has_no_correct_turn() -> None:
    (row,) = rows_of("trials", trial_groups([made_trial(outcome=Incorrect(turns=3))]))
    assert (row["outcome"], row["correct_turn"], row["turns"]) == ("incorrect", None, 3)


def test_a_trial_without_turns_has_a_row_of_its_own_and_no_turn() -> None:
    found = trial_groups([made_trial(outcome=NO_SANDBOX)])
    (row,) = rows_of("trials", found)
    assert (row["outcome"], row["turns"]) == ("not run", 0)
    assert rows_of("turns", found) == []


def test_scripted_rows_name_their_transcript() -> None:
    for name in ("trials", "turns"):
        (row,) = rows_of(name, trial_groups([made_trial(script="solution")]))
        assert row["script"] == "solution"


def test_the_schema_names_every_column() -> None:
    text = (ROOT / "reports" / "README.md").read_text().partition("## Tidy trials")[2]
    for column in (*TRIAL_HEADER, *TURN_HEADER):
        assert f"`{column}`" in text
