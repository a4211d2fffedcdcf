"""Many cases at planned looks: who gets more pairs, and when a word stands."""

from collections.abc import Sequence

from tests.stats.samples import QUIET, pairs_of

from llamatrix.commands.regress.judging import broken, judge_together
from llamatrix.stats.looks import Looks
from llamatrix.stats.pairs import Pair
from llamatrix.stats.word import Word

_LOOKS = Looks(pairs=(5, 8))
_SAME = tuple(1 + one for one in QUIET)
_NOISY = (0.92, 0.98, 0.94, 0.96, 0.945)
"""Alone SLOWER at the first look, with a p value that Holm refuses among many."""


def judged(**ratios: Sequence[float]) -> tuple[dict[str, Word], dict[str, int | None]]:
    return _judged({name: pairs_of(found) for name, found in ratios.items()})


def _judged(
    pairs: dict[str, tuple[Pair, ...]],
) -> tuple[dict[str, Word], dict[str, int | None]]:
    found = judge_together(pairs, margins=dict.fromkeys(pairs, 0.02), looks=_LOOKS)
    words = {cell.id: cell.word for cell in found.overall.cells}
    return words, dict(found.next_pairs)


def failing(count: int, *, disturbed: str = "") -> tuple[Pair, ...]:
    return tuple(
        Pair(number=number, baseline=40.0, candidate=None, disturbed=disturbed)
        for number in range(1, count + 1)
    )


def test_before_the_first_look_nothing_is_claimed() -> None:
    words, wanted = judged(a=[0.5, 0.5, 0.5, 0.5])
    assert words == {"a": Word.INCONCLUSIVE}
    assert wanted == {"a": 5}


def test_what_is_decided_gets_no_more_pairs() -> None:
    words, wanted = judged(a=_SAME, b=[0.9 * one for one in _SAME], c=_SAME[:3])
    assert words == {"a": Word.SAME, "b": Word.SLOWER, "c": Word.INCONCLUSIVE}
    assert wanted == {"a": None, "b": None, "c": 5}


def test_a_change_that_only_holm_refuses_gets_more_pairs() -> None:
    alone, wanted_alone = judged(a=_NOISY)
    assert (alone["a"], wanted_alone["a"]) == (Word.SLOWER, None)
    others = {f"other{number}": _SAME for number in range(20)}
    words, wanted = judged(a=_NOISY, **others)
    assert (words["a"], wanted["a"]) == (Word.INCONCLUSIVE, 8)
    more = (*_NOISY, 0.94, 0.95, 0.945)
    words, wanted = judged(a=more, **others)
    assert wanted["a"] is None
    assert words["a"] is Word.SLOWER


def test_only_a_change_that_stands_is_said_to_be_claimed_early() -> None:
    pairs = {"a": pairs_of([0.9 * one for one in _SAME]), "b": pairs_of(_NOISY)}
    pairs |= {f"other{number}": pairs_of(_SAME) for number in range(20)}
    margins = dict.fromkeys(pairs, 0.02)
    cells = judge_together(pairs, margins=margins, looks=_LOOKS).overall.cells
    notes = {cell.id: " ".join(cell.comparison.notes) for cell in cells}
    assert "claimed after 5 of up to 8 pairs" in notes["a"]
    assert "claimed" not in notes["b"]


def test_what_came_after_the_deciding_look_does_not_count() -> None:
    words, _ = judged(a=(*_SAME, 0.5, 0.5, 0.5))
    assert words == {"a": Word.SAME}


def test_after_the_last_look_nobody_gets_more() -> None:
    words, wanted = judged(a=[0.8, 1.2, 0.7, 1.3, 1.0, 0.9, 1.1, 1.0])
    assert words == {"a": Word.INCONCLUSIVE}
    assert wanted == {"a": None}


def test_one_failure_is_tried_again_and_two_are_enough() -> None:
    assert _judged({"a": failing(1)})[1] == {"a": 5}
    words, wanted = _judged({"a": failing(2)})
    assert words == {"a": Word.BROKEN}
    assert wanted == {"a": None}


def test_failures_under_disturbance_break_nothing() -> None:
    words, wanted = _judged({"a": failing(4, disturbed="a burner")})
    assert words == {"a": Word.INCONCLUSIVE}
    assert wanted == {"a": 5}


def test_a_baseline_that_never_works_ends_the_case_without_a_claim() -> None:
    pairs = tuple(Pair(number=n, baseline=None, candidate=40.0) for n in (1, 2))
    words, wanted = _judged({"a": pairs})
    assert words == {"a": Word.INCONCLUSIVE}
    assert wanted == {"a": None}


def test_a_candidate_that_cannot_start_is_broken_without_pairs() -> None:
    found = broken("it does not build", margin=0.02, looks=_LOOKS)
    assert found.word is Word.BROKEN
    assert found.notes == ("it does not build",)
