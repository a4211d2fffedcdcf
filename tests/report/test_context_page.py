"""The page of contexts: the published columns, the curve, and everything to be known."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from tests.records.made_context import (
    made_context,
    made_found,
    made_recalled,
    made_rung,
)

from llamatrix.config.matrix import WeightsKind
from llamatrix.engines.outcome import Crashed, OutOfMemory, Stage, TimedOut
from llamatrix.measure.context.result import (
    Attempt,
    Failure,
    OverBudget,
    Spilled,
    StopReason,
    Unanswered,
)
from llamatrix.records.context_record import SearchLimits
from llamatrix.report.views.context import context_page, newest, write_context_page


def test_the_page_of_contexts_equals_the_golden_file(
    golden: Callable[[str, str], None],
) -> None:
    golden("context.md", context_page([made_context()]))


def test_a_curve_that_rises_is_reported_to_be_of_a_busy_machine() -> None:
    found = made_found()
    slow = made_rung(512, 30.0, added=384, held_gib=21.0)
    steps = (slow, *found.steps[1:])
    recalled = (made_recalled(196608),)
    odd = msgspec.structs.replace(found, steps=steps, recalled=recalled)
    words = "disturbed: 65,536 tokens were faster than 512"
    assert words in context_page([made_context(odd)])
    assert words not in context_page([made_context(found)])


def test_synthetic_weights_have_no_recall() -> None:
    found = msgspec.structs.replace(
        made_found(), recalled=(), not_recalled="they remember nothing"
    )
    text = context_page([made_context(found, weights=WeightsKind.FULL)])
    assert "n/a (synthetic weights)" in text
    assert "- recall: n/a, they remember nothing" in text


def test_a_fact_not_recalled_limits_the_context() -> None:
    recalled = (made_recalled(131072, forgotten=50), made_recalled(65536))
    found = msgspec.structs.replace(made_found(), recalled=recalled)
    text = context_page([made_context(found)])
    assert "recall, between 65,536 and 131,072" in text
    assert "10 %: yes, 50 %: no, 90 %: yes" in text


@pytest.mark.parametrize(
    ("failure", "words"),
    [
        (
            OutOfMemory(exit_code=1, tail=(), stage=Stage.GENERATION),
            "out of memory (generation) at 262,144 tokens",
        ),
        (Crashed(exit_code=-11, tail=()), "the server ended (exit code -11)"),
        (TimedOut(after_s=90, tail=()), "no answer within 1 min 30 s"),
        (Spilled(signs=("12 of 65",)), "spilled out of VRAM (12 of 65)"),
        (
            Unanswered(said="it ended without its timings", tail=()),
            "the server went on, but did not answer (it ended without its timings)",
        ),
        (OverBudget(held_bytes=2**34), "held 16 GiB, more than allowed"),
    ],
    ids=lambda one: type(one).__name__,
)
def test_every_failure_is_reported_in_words(failure: Failure, words: str) -> None:
    failed = Attempt(
        context_tokens=262144,
        predicted_bytes=2**34,
        failure=failure,
        failed_at_tokens=262144,
    )
    found = msgspec.structs.replace(
        made_found(StopReason.MEMORY), attempts=(failed,), steps=(), recalled=()
    )
    text = context_page([made_context(found)])
    assert words in text
    assert "given up after 1 start" in text
    assert "memory, 262,144 is too large" in text


def test_of_searches_of_one_question_the_newest_is_shown() -> None:
    old = made_context(measured_at="2026-11-01T12:00:00.000+00:00")
    new = made_context(measured_at="2026-11-26T12:00:00.000+00:00")
    other = made_context(asked=SearchLimits(min_speed_ratio=0.5))
    assert newest([new, old]) == [new]
    assert len(newest([new, old, other])) == 2


def test_without_records_there_is_no_page(tmp_path: Path) -> None:
    assert write_context_page([], tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_what_was_allowed_stands_beside_what_was_used() -> None:
    made = made_context()
    text = context_page([made])
    assert " 23 GiB |" in text
    assert "(--vram)" not in text
    asked = msgspec.structs.replace(made.limits, vram_bytes=23 * 2**30)
    text = context_page([msgspec.structs.replace(made, limits=asked)])
    assert " 23 GiB (--vram) |" in text
