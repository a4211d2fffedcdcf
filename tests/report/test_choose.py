"""Which model for a card: sources and grades, and a ranking that says why."""

import json
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
from tests.commands.conftest import RunInvoke, run_invoke
from tests.report.made_sweep import CARD, HOST, MODELS, blog, sweep
from tests.report.made_trials import made_trial, published_trials
from tests.shipped import ROOT

from llamatrix.config.matrix import WeightsKind
from llamatrix.records.speed_record import SpeedRecord
from llamatrix.records.trial_record import TrialRecord
from llamatrix.report.render.html import Page, Section, render
from llamatrix.report.render.markdown import markdown
from llamatrix.report.speed import groups
from llamatrix.report.trials import trial_groups
from llamatrix.report.views.choose import (
    Choices,
    Question,
    SourceGrade,
    choice_tables,
    choices,
)
from llamatrix.trials.trial_result import Incorrect

__all__ = ["run_invoke"]


def question(
    card_gib: float = 24, *, context: int = 32768, here: str = HOST
) -> Question:
    return Question(
        card_bytes=round(card_gib * 2**30),
        card="a card",
        context_tokens=context,
        here=here,
    )


def of(
    asked: Question | None = None,
    *,
    records: Sequence[SpeedRecord] = (),
    trials: Sequence[TrialRecord] = (),
    published: bool = True,
) -> Choices:
    return choices(
        asked or question(),
        models={key: key for key in MODELS},
        groups=groups(records, models=MODELS),
        trials=trial_groups(trials, models=MODELS),
        sets=[blog()] if published else [],
    )


def test_without_records_published_numbers_of_such_a_card_are_elsewhere() -> None:
    first = of().ranked[0]
    assert first.key == "qwen35-35b-a3b"
    assert first.speed
    assert (first.speed.text, first.speed.source.grade) == (
        "165.84",
        SourceGrade.ELSEWHERE,
    )
    assert "RTX 4090" in first.speed.source.text
    assert first.correct
    assert (first.correct.passes.passed, first.correct.mean_turn) == (2, 1.5)


def test_records_of_this_host_class_come_before_published_ones() -> None:
    first = of(records=sweep(2.0)).ranked[0]
    assert first.speed
    assert first.speed.source.grade is SourceGrade.HERE
    assert first.speed.interval
    assert first.speed.value == pytest.approx(2 * 165.84, rel=0.01)
    elsewhere = of(question(here="other"), records=sweep(2.0)).ranked[0]
    assert elsewhere.speed
    assert elsewhere.speed.source.grade is SourceGrade.ELSEWHERE


def test_a_card_with_the_same_memory_comes_before_records_of_another() -> None:
    large = msgspec.structs.replace(CARD, memory_bytes=80 * 2**30)
    first = of(records=sweep(3.0, gpus=(large,))).ranked[0]
    assert first.speed
    assert first.speed.source.grade is SourceGrade.ELSEWHERE


def test_tiny_weights_and_scripted_trials_count_for_nothing() -> None:
    tiny = sweep(9.0, weights=WeightsKind.TINY)
    scripted = published_trials(script="solution")
    assert of(records=tiny, trials=scripted) == of()


def test_without_any_measurement_the_context_is_predicted() -> None:
    found = of(published=False)
    assert all(choice.speed is None for choice in found.ranked)
    contexts = [choice.context for choice in found.ranked]
    assert {context.source.grade for context in contexts if context} == {
        SourceGrade.PREDICTED
    }


def test_models_that_do_not_fit_rank_last_and_say_why() -> None:
    found = of(question(16, context=8192), published=False)
    fits = [found.fits(choice) for choice in found.ranked]
    assert fits == [False] * 4
    assert "does not fit: 20.7 GiB of weights" in {
        choice.refused for choice in found.ranked
    }
    found = of(question(18, context=4096), published=False)
    assert found.fits(found.ranked[0]) is True
    assert found.fits(found.ranked[-1]) is False


def test_a_model_that_is_clearly_less_often_correct_ranks_behind_slower_ones() -> None:
    failed = [
        made_trial("qwen35-35b-a3b", trial=number, outcome=Incorrect(turns=3))
        for number in range(1, 7)
    ]
    assert of(trials=failed).ranked[-1].key == "qwen35-35b-a3b"


def test_every_mark_of_the_ranking_is_in_the_table_of_sources() -> None:
    ranking, sources = choice_tables(of(records=sweep()))
    marks = {row[0].text for row in sources.cells}
    used = {
        cell.note for row in ranking.cells for cell in row if cell.note and cell.hint
    }
    assert used == marks
    assert ranking.headings[0].text == "Model"


def test_a_source_has_code_marked_up_on_the_page_and_plain_on_a_terminal() -> None:
    _, sources = choice_tables(of(published=False))
    section = Section(id="s", title="s", tables=(sources,))
    page = Page(title="", about="", sections=(section,), downloads=(), bibtex="")
    assert "of <code>invoke fit</code>, 1" in render(page, sha256_of=str)
    assert "of `invoke fit`, 1" in markdown(sources)
    assert "of invoke fit, 1" in markdown(sources.plain())


def test_columns_without_a_value_are_left_out() -> None:
    ranking, _ = choice_tables(of())
    assert [column.text for column in ranking.headings].count("95 % interval") == 0


@pytest.mark.usefixtures("project")
def test_the_command_ranks_without_records(run_invoke: RunInvoke) -> None:
    ended = run_invoke("choose", "--vram", "24GiB", "--json")
    assert ended.returncode == 0, ended.stderr
    ranked = json.loads(ended.stdout)
    assert {choice["name"] for choice in ranked} >= {"Qwen3.5-27B", "Gemma4-31B"}
    assert ranked[0]["generation_tps"] is None  # the project of the test has no sets
    assert ranked[0]["largest_context_tokens"]["grade"] == "predicted"


@pytest.mark.usefixtures("project")
def test_the_command_reads_another_folders_records(run_invoke: RunInvoke) -> None:
    example = str(ROOT / "reports" / "examples" / "h200")
    ended = run_invoke("choose", "--vram", "140GiB", "--records", example)
    assert ended.returncode == 0, ended.stderr
    assert "| H1     | measured here" in ended.stdout
    assert "216.97 (H1)" in ended.stdout


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize(
    ("flag", "value"),
    [("--vram", "much"), ("--context", "0"), ("--context", "x"), ("--records", "gone")],
)
def test_a_flag_with_an_unusable_value_is_named(
    run_invoke: RunInvoke, flag: str, value: str
) -> None:
    ended = run_invoke("choose", flag, value)
    assert ended.returncode in {2, 7}
    assert "Traceback" not in ended.stderr
    assert flag in ended.stderr


@pytest.mark.usefixtures("project")
def test_a_folder_of_another_projects_records_is_no_source(
    run_invoke: RunInvoke, tmp_path: Path
) -> None:
    other = tmp_path / "other" / "records" / "host" / "speed"
    other.mkdir(parents=True)
    (other / "runs.jsonl").write_text('{"tool": "asv", "results": [1, 2]}\n\xff\n')
    ended = run_invoke(
        "choose", "--vram", "24GiB", "--records", str(tmp_path / "other")
    )
    assert ended.returncode == 0, ended.stderr
    assert "H1" not in ended.stdout


def test_speed_of_two_cards_is_not_one_cards_and_is_named_so() -> None:
    two = sweep(3.0, gpus=(CARD, CARD))
    first = of(records=two).ranked[0]
    assert first.speed
    assert "RTX 4090" in first.speed.source.text
    assert first.speed.source.grade is SourceGrade.ELSEWHERE
    both = of(question(48), records=two, published=False).ranked[0]
    assert both.speed
    assert both.speed.source.text.startswith("2 × NVIDIA GeForce RTX 4090 (24 GiB)")


def test_speed_of_a_build_without_the_card_is_not_the_cards() -> None:
    replace = msgspec.structs.replace
    on_cpu = [
        replace(record, build=replace(record.build, backend="cpu"))
        for record in sweep(3.0)
    ]
    first = of(records=on_cpu).ranked[0]
    assert first.speed
    assert first.speed.source.grade is SourceGrade.ELSEWHERE
    alone = of(records=on_cpu, published=False).ranked[0]
    assert alone.speed
    assert alone.speed.source.text.startswith("A CPU, ")
