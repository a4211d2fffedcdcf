"""Exports hold every turn, raw, the same in both forms."""

import csv
import io
import json

from tests.report.made_trials import NO_SANDBOX, made_trial, several_trials
from tests.shipped import ROOT

from llamatrix.report.tidy import AGENT_HEADER, agent_csv, agent_json
from llamatrix.report.trials import trial_groups
from llamatrix.trials.trial_result import Correct, Incorrect


def test_json_and_csv_hold_the_same_rows() -> None:
    found = trial_groups(several_trials())
    rows = json.loads(agent_json(found))
    lines = list(csv.DictReader(io.StringIO(agent_csv(found))))
    assert len(rows) == 1 + 2 + 3 + 2 + 1 + 1 + 1
    assert lines == [
        {key: "" if value is None else str(value) for key, value in row.items()}
        for row in rows
    ]


def test_the_sums_of_a_trials_rows_are_those_of_its_table() -> None:
    rows = json.loads(agent_json(trial_groups([made_trial(outcome=Correct(turn=2))])))
    assert [row["turn"] for row in rows] == [1, 2]
    assert sum(row["generated_tokens"] for row in rows) == 2868  # two rounded halves
    assert [row["verdict"] for row in rows] == ["failed", "passed"]
    assert [row["failed_checks"] for row in rows] == ["tests-pass", None]


def test_a_trial_that_was_never_correct_has_no_correct_turn() -> None:
    rows = json.loads(
        agent_json(trial_groups([made_trial(outcome=Incorrect(turns=3))]))
    )
    assert {(row["outcome"], row["correct_turn"]) for row in rows} == {
        ("incorrect", None)
    }


def test_a_trial_without_turns_has_one_row() -> None:
    (row,) = json.loads(agent_json(trial_groups([made_trial(outcome=NO_SANDBOX)])))
    assert (row["outcome"], row["turn"], row["api_calls"]) == ("not run", None, None)


def test_scripted_rows_name_their_transcript() -> None:
    (row,) = json.loads(agent_json(trial_groups([made_trial(script="solution")])))
    assert row["script"] == "solution"


def test_the_schema_names_every_column() -> None:
    text = (ROOT / "reports" / "README.md").read_text().partition("## Tidy turns")[2]
    for column in AGENT_HEADER:
        assert f"`{column}`" in text
