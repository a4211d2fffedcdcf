"""A comparison of agents in its written forms: terminal, Markdown, JSON, JUnit."""

import json
from xml.etree import ElementTree as ET

import pytest
from tests.commands.regress.agent.made import (
    FAILED,
    MadeAttempts,
    always,
    asked,
    found_by,
    passing,
)
from tests.report.test_regress import words_in

from llamatrix.project import Project
from llamatrix.report.comparison import (
    comparison_json,
    comparison_junit,
    comparison_markdown,
    comparison_text,
)
from llamatrix.stats.pairs import Arm
from llamatrix.stats.verdict import Verdict

_B = Arm.CANDIDATE


def test_amounts_have_intervals_and_do_not_change_the_verdict(project: Project) -> None:
    found = found_by(project, MadeAttempts(factor={_B: 3.0}))
    assert found.verdict is Verdict.INCONCLUSIVE
    ratios = found.cells[0].ratios
    tokens = ratios["Total prompt tokens processed"]
    assert tokens is not None
    assert tokens.ratio == pytest.approx(3.0, rel=1e-3)
    assert tokens.pairs == 5
    calls = ratios["API calls"]
    assert calls is not None
    assert calls.ratio == pytest.approx(1.0)
    assert "Total prompt tokens processed: ratio 3.000, 5 pairs" in comparison_text(
        found
    )


def test_a_scripted_model_is_reported_in_every_written_form(project: Project) -> None:
    found = found_by(project, MadeAttempts())
    assert found.scripted
    for text in (
        comparison_text(found),
        comparison_markdown(found),
        comparison_json(found),
    ):
        assert "authored transcripts spoke in the model's place" in text


def test_slower_is_shown_as_worse_for_agents(project: Project) -> None:
    found = found_by(project, MadeAttempts(candidate=passing(1, 2)))
    assert "SLOWER reads: worse" in comparison_text(found).splitlines()[0]
    assert "passes 5/5 [0.57, 1.00] → 2/5 [0.12, 0.77]; P(drop > 10 points) 0.929" in (
        comparison_text(found)
    )


def test_json_of_agents_has_counts_and_verdicts(project: Project) -> None:
    found = found_by(
        project, MadeAttempts(candidate=passing(1, 2)), asked(tasks="", trials=5)
    )
    document = json.loads(comparison_json(found))
    assert sorted(words_in(document)) == ["verdict"] * 3
    assert document["exit_code"] == 10
    cell = document["cells"][0]
    assert cell["candidate"]["passed"] == 2
    assert cell["candidate"]["turns"] == [1, 1, None, None, None]
    assert cell["drop_probability"] == pytest.approx(0.929, abs=1e-3)
    assert cell["baseline"]["wilson_95"][0] == pytest.approx(0.566, abs=1e-3)
    assert document["pooled"]["cells"] == 2
    assert document["baseline"]["agent"] == "OpenCode 1.3.2"


def test_junit_fails_losses_and_skips_undecided_cells(project: Project) -> None:
    found = found_by(project, MadeAttempts(candidate=always(FAILED)))
    suite = ET.fromstring(comparison_junit(found).encode())  # noqa: S314  (our own)
    assert [one.get("type") for one in suite.iter("failure")] == ["BROKEN"]
    unsure = found_by(project, MadeAttempts(), asked(trials=1))
    assert 'skipped="1"' in comparison_junit(unsure)


def test_junit_fails_where_only_the_pooled_verdict_does(project: Project) -> None:
    both = asked(tasks="", trials=4)
    found = found_by(project, MadeAttempts(candidate=passing(1, 2)), both)
    assert found.verdict is Verdict.SLOWER
    assert {cell.comparison.verdict for cell in found.cells} == {Verdict.INCONCLUSIVE}
    suite = ET.fromstring(comparison_junit(found).encode())  # noqa: S314  (our own)
    (failure,) = [one for one in suite if one.find("failure") is not None]
    assert failure.get("name") == "all cells together"
    assert (suite.get("tests"), suite.get("failures")) == ("3", "1")


def test_comment_is_a_table_with_folded_amounts(project: Project) -> None:
    text = comparison_markdown(found_by(project, MadeAttempts()))
    assert text.startswith("> [!WARNING]\n> Measured with tiny synthetic weights")
    assert "\n### Agent: INCONCLUSIVE\n" in text
    assert "5/5 [0.57, 1.00]" in text
    assert text.index("<details>") < text.index("API calls: ratio 1.000")
