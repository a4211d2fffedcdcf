"""The end of a command: few lines, within the width, the page last."""

from dataclasses import dataclass

import pytest
from tests.report.made_sweep import sweep
from tests.report.made_trials import several_trials

from llamatrix.report.speed import groups
from llamatrix.report.trials import trial_groups
from llamatrix.report.views.summary import Measured, summary_text


@dataclass(frozen=True)
class Slower:
    question: str = "Did it get slower?"
    answer: str = "Yes: SLOWER"
    mood: str = "bad"
    lines: tuple[str, ...] = ("april to current, `pp512`: ratio 0.961", "and 1 SAME")


def measured() -> Measured:
    return Measured(
        groups=groups(sweep()),
        trials=trial_groups(several_trials()),
        contexts=(),
        others=3,
    )


def text(*, width: int = 100, colour: bool = False) -> str:
    def paint(words: str, mood: str) -> str:
        return f"<{mood}>{words}</>" if colour else words

    page = "reports/index.html"
    return summary_text(measured(), [Slower()], page=page, paint=paint, width=width)


@pytest.mark.parametrize(("width", "most"), [(100, 16), (60, 30)])
def test_every_line_fits_and_the_page_comes_last(width: int, most: int) -> None:
    lines = text(width=width).splitlines()
    assert max(map(len, lines)) <= width
    assert len(lines) <= most
    assert lines[-1].split() == ["Page", "reports/index.html"]


def test_speeds_name_their_sweep_and_trials_their_outcome() -> None:
    shown = text()
    (first, *_) = shown.splitlines()
    assert first.startswith("Tokens/s            Gemma4-26B-A4B: pp512 ")
    assert "; published, april/cuda" in first
    assert " correct" in shown
    assert "3 tests, on pages of their own" in shown


def test_an_answer_is_one_line_with_its_first_reason() -> None:
    lines = text().splitlines()
    assert (
        "Did it get slower?  Yes: SLOWER; april to current, pp512: ratio 0.961" in lines
    )


def test_colour_marks_verdicts_and_moves_no_word() -> None:
    painted = text(colour=True)
    assert "<bad>Yes: SLOWER</>" in painted
    assert "<good>" in painted
    for tag in ("<bad>", "<good>", "</>"):
        painted = painted.replace(tag, "")
    assert painted == text()
