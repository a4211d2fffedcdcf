"""The page opens with three answers; pairs and pins say whether it got slower."""

import math
import re
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
from tests.report.made_sweep import MODELS, made_view, on_card, stored, sweep
from tests.shipped import ROOT

from llamatrix.config.cell import SpeedTest
from llamatrix.records.pair_records import SPEED_PAIRS, SpeedRun
from llamatrix.records.speed_record import SpeedRecord
from llamatrix.records.store import Store
from llamatrix.report.pages import evidence_of, write_pages
from llamatrix.report.plots import Palette
from llamatrix.report.render.html import Mood
from llamatrix.report.sections import slower_section
from llamatrix.report.speed import groups
from llamatrix.report.views.answers import answers
from llamatrix.report.views.choose import choices, question_of_records
from llamatrix.report.views.regressions import (
    NOT_PROVABLE,
    UNPAIRED,
    History,
    PinPoint,
    histories,
    pin_table,
    regression_table,
    regressions,
    welch_interval,
)
from llamatrix.stats.pairs import Arm

NAMES = {key: key for key in MODELS}
FOUND = choices(question_of_records([], []), models=NAMES)


@pytest.fixture(scope="module")
def runs() -> Sequence[SpeedRun]:
    """The shipped pairs of an H200: two pins, and one pin against itself."""
    folder = ROOT / "reports" / "examples" / "h200"
    return tuple(Store(reports=folder, kind=SPEED_PAIRS).read_all())


def test_shipped_pairs_are_judged_again(runs: Sequence[SpeedRun]) -> None:
    compared = regressions(runs, NAMES)
    assert [(one.arms_text, one.identical) for one in compared] == [
        ("april → current", False),
        ("current → itself (A/A)", True),
    ]
    table = regression_table(compared)
    assert [column.text for column in table.headings[:5]] == [
        *("Model", "Test", "Ratio", "98.3 % interval", "Verdict")
    ]
    verdicts = {(row[1].text, row[5].text): row[4].text for row in table.cells}
    assert verdicts["pp512", "april → current"] == "SLOWER"
    assert verdicts["tg128", "april → current"] == "FASTER"
    assert all(row[0].href.startswith("regress/h200-7e73a7/") for row in table.cells)


def test_the_worst_verdict_of_pairs_is_the_answer(runs: Sequence[SpeedRun]) -> None:
    compared = regressions(runs, NAMES)
    _, slower, _ = answers(FOUND, compared, (), (), sets_href="")
    assert (slower.answer, slower.mood) == ("Yes: SLOWER", Mood.BAD)
    assert slower.lines[0].startswith("april → current, qwen35-27b (synthetic) pp512:")
    assert slower.lines[1] == "and 1 FASTER"
    _, aa_only, _ = answers(FOUND, compared[1:], (), (), sets_href="")
    assert aa_only.answer == "Nothing to compare yet"


def test_without_records_every_card_says_what_to_do() -> None:
    which, slower, reproduced = answers(FOUND, (), (), (), sets_href="")
    assert which.answer == "Not known yet"
    assert "invoke regress" in slower.lines[0]
    assert reproduced.answer == "Nothing to compare yet"
    assert {card.mood for card in (which, slower, reproduced)} == {Mood.OPEN}


def _at_current(test: SpeedTest, speeds: Sequence[float]) -> list[SpeedRecord]:
    """Processes of another pin, whose commit is newer than all known ones."""
    records = [
        on_card("qwen35-27b", test, speed, repeat=repeat)
        for repeat, speed in enumerate(speeds, start=1)
    ]
    replace = msgspec.structs.replace
    return [
        replace(
            record,
            cell=replace(
                record.cell, id="speed/qwen35-27b/current/cuda", pin="current"
            ),
            build=replace(record.build, commit="f" * 40),
        )
        for record in records
    ]


def test_one_process_of_each_pin_proves_nothing() -> None:
    test = SpeedTest(n_prompt=512, n_gen=0)
    april = on_card("qwen35-27b", test, 3000.0)  # the steady mean is 0.1 % above it
    pins = histories(groups([april, *_at_current(test, [2900.0])]), (), NAMES)
    (row,) = pin_table(pins).cells
    assert row[2].text == "3,003"
    assert row[4].text == "0.9667"
    assert row[6].text == NOT_PROVABLE
    _, slower, _ = answers(FOUND, (), pins, (), sets_href="")
    assert (slower.answer, slower.mood) == ("Not provable", Mood.OPEN)
    assert slower.lines == (f"april → current: {NOT_PROVABLE}",)


def test_several_processes_give_an_interval_and_still_no_verdict() -> None:
    test = SpeedTest(n_prompt=512, n_gen=0)
    april = [
        on_card("qwen35-27b", test, speed, repeat=repeat)
        for repeat, speed in enumerate((3000.0, 3010.0, 2990.0), start=1)
    ]
    current = _at_current(test, [2900.0, 2905.0, 2895.0])
    (row,) = pin_table(histories(groups([*april, *current]), (), NAMES)).cells
    assert row[5].text.startswith("[0.96")
    assert row[6].text == UNPAIRED


def test_pairs_are_part_of_the_history(runs: Sequence[SpeedRun]) -> None:
    found = histories((), runs, NAMES)
    assert {one.test.name for one in found} == {"pp512", "tg128"}
    assert {tuple(point.pin for point in one.points) for one in found} == {
        ("april", "current")
    }
    assert not pin_table(found).rows


def test_plot_of_pins_has_a_line_for_each_configuration() -> None:
    """Builds differ here; the prompt of 512 tokens speaks for the others."""
    found = [
        History(
            host_slug="box",
            model="qwen35-27b (synthetic)",
            test=SpeedTest(n_prompt=prompt, n_gen=0),
            where=f"mixed-kv sweep, {build} build",
            points=(
                PinPoint(pin="april", commit="a", means=(100.0,)),
                PinPoint(pin="current", commit="c", means=(2500.0,)),
            ),
        )
        for build in ("cuda", "cuda-fa-all-quants")
        for prompt in (128, 512, 2048)
    ]
    (figure,) = slower_section((), (), found, palette=Palette(models={})).figures
    texts = re.findall(r"<text[^>]*>([^<]+)</text>", figure.svg)
    assert {"qwen35-27b, cuda build", "qwen35-27b, cuda-fa-all-quants build"} < {*texts}
    assert "(synthetic, pp512, mixed-kv sweep), oldest" in figure.caption


def test_page_and_terminal_share_the_answers(tmp_path: Path) -> None:
    view = made_view(stored(tmp_path, sweep()))
    evidence = evidence_of(view)
    write_pages(view, evidence, tmp_path)
    html = (tmp_path / "index.html").read_text()
    assert all(f">{card.answer}</p>" in html for card in evidence.cards)


def test_one_pin_has_no_history() -> None:
    assert histories(groups(sweep()), (), NAMES) == ()


def test_welch_interval_equals_the_known_one() -> None:
    before = [math.log(value) for value in (10.0, 11.0, 9.0)]
    after = [math.log(value) for value in (20.0, 22.0, 18.5, 19.0)]
    interval = welch_interval(before, after)
    assert interval
    assert interval.low == pytest.approx(1.629, abs=0.001)
    assert interval.high == pytest.approx(2.431, abs=0.001)
    assert welch_interval([1.0], after) is None
    assert welch_interval([1.0, 1.0], [2.0, 2.0]) is None


def test_pairs_of_two_builds_are_a_comparison_and_not_an_a_a_test(
    runs: Sequence[SpeedRun],
) -> None:
    replace = msgspec.structs.replace
    slower = [run for run in runs if run.case.split("/")[2] == "april..current"]
    builds = [
        replace(
            run,
            case=run.case.replace("/april..current/", "/current/", 1).replace(
                f"/{run.case.split('/')[3]}/", "/cuda..cuda-fa/", 1
            ),
        )
        for run in slower
    ]
    (compared,) = regressions(builds, NAMES)
    assert (compared.arms_text, compared.identical) == ("cuda → cuda-fa", False)
    assert "cuda" not in compared.cells[0].where
    _, card, _ = answers(FOUND, [compared], (), (), sets_href="")
    assert card.answer == "Yes: SLOWER"


def test_pairs_of_two_models_have_the_baselines_name_whichever_ran_last(
    runs: Sequence[SpeedRun],
) -> None:
    replace = msgspec.structs.replace
    model = runs[0].case.split("/")[1]
    quants = [
        replace(
            run,
            case=run.case.replace(model, f"{model}..gemma4-31b.full", 1),
            cell=run.cell.replace(
                model, "gemma4-31b.full" if run.arm is Arm.CANDIDATE else model
            ),
        )
        for run in runs
        if ".." in run.case
    ]
    for arm in Arm:
        last = [run for run in quants if run.arm is arm][-1:]
        (compared,) = regressions([*quants, *last], NAMES)
        assert {cell.model for cell in compared.cells} == {"qwen35-27b (synthetic)"}
        assert "→ gemma4-31b.full" in compared.arms_text
