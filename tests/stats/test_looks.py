import math
from dataclasses import replace

import pytest
from tests.stats.samples import QUIET, pairs_of

from llamatrix.errors import ReportError
from llamatrix.stats.looks import Looks, judge_at_looks, parse_looks
from llamatrix.stats.metric import Unit
from llamatrix.stats.pairs import Pair
from llamatrix.stats.word import Word

LOOKS = Looks()
LOUD = tuple(math.exp(6 * log) for log in (*QUIET, *QUIET, *QUIET))


def test_alpha_is_split_evenly_over_the_planned_looks() -> None:
    assert LOOKS.pairs == (5, 8, 12)
    assert LOOKS.alpha_per_look == pytest.approx(0.05 / 3)
    found = judge_at_looks(pairs_of(LOUD[:5]), unit=Unit.TOKENS_PER_S, looks=LOOKS)
    assert found.comparison.rule.alpha == pytest.approx(0.05 / 3)
    assert found.comparison.estimate is not None
    wide, plain = found.comparison.interval, found.comparison.estimate.interval(0.05)
    assert found.comparison.level == pytest.approx(1 - 0.05 / 3)
    assert wide is not None
    assert plain is not None
    assert wide.half_width > 1.3 * plain.half_width


def test_a_change_claimed_before_the_last_look_is_said_to_be_overstated() -> None:
    ratios = [0.95 * math.exp(log) for log in QUIET]
    found = judge_at_looks(pairs_of(ratios), unit=Unit.TOKENS_PER_S, looks=LOOKS)
    assert "tends to overstate the change" in found.comparison.notes[-1]
    last = Looks(pairs=(5,))
    found = judge_at_looks(pairs_of(ratios), unit=Unit.TOKENS_PER_S, looks=last)
    assert found.comparison.notes == ()


def test_the_first_decision_stands_whatever_came_after() -> None:
    ratios = [0.95 * math.exp(log) for log in QUIET] + [1.3] * 7
    found = judge_at_looks(pairs_of(ratios), unit=Unit.TOKENS_PER_S, looks=LOOKS)
    assert found.comparison.word is Word.SLOWER
    assert (found.look, found.next_pairs) == (1, None)
    assert found.comparison.used == (1, 2, 3, 4, 5)


@pytest.mark.parametrize(
    ("pairs", "look", "next_pairs"),
    [(3, 0, 5), (5, 1, 8), (7, 1, 8), (8, 2, 12), (12, 3, None), (15, 3, None)],
)
def test_an_open_question_asks_for_the_pairs_of_the_next_look(
    pairs: int, look: int, next_pairs: int | None
) -> None:
    found = judge_at_looks(pairs_of(LOUD[:pairs]), unit=Unit.TOKENS_PER_S, looks=LOOKS)
    assert found.comparison.word is Word.INCONCLUSIVE
    assert (found.look, found.next_pairs) == (look, next_pairs)


def test_between_looks_nothing_new_is_claimed() -> None:
    clear = pairs_of([0.5 * math.exp(log) for log in QUIET[:4]])
    found = judge_at_looks(clear, unit=Unit.TOKENS_PER_S, looks=LOOKS)
    assert found.comparison.word is Word.INCONCLUSIVE
    assert found.comparison.notes[-1] == "the first planned look is still to come"


def test_a_broken_candidate_is_told_before_the_first_look() -> None:
    pair = Pair(number=1, baseline=40.0, candidate=None)
    found = judge_at_looks([pair], unit=Unit.TOKENS_PER_S, looks=LOOKS)
    assert found.comparison.word is Word.BROKEN
    assert found.next_pairs is None


def test_a_disturbed_pair_does_not_count_towards_a_look() -> None:
    pairs = list(pairs_of([0.95 * math.exp(log) for log in (*QUIET, 0.0)]))
    pairs[1] = replace(pairs[1], disturbed="foreign load")
    five = judge_at_looks(pairs[:5], unit=Unit.TOKENS_PER_S, looks=LOOKS)
    six = judge_at_looks(pairs, unit=Unit.TOKENS_PER_S, looks=LOOKS)
    assert (five.look, five.comparison.word) == (0, Word.INCONCLUSIVE)
    assert (six.look, six.comparison.word) == (1, Word.SLOWER)
    assert six.comparison.used == (1, 3, 4, 5, 6)


def test_looks_are_read_as_a_user_writes_them() -> None:
    assert parse_looks("5, 8,12") == Looks()
    assert parse_looks("6").alpha_per_look == 0.05


@pytest.mark.parametrize("text", ["", "5,x", "8,5", "2"])
def test_looks_that_make_no_sense_say_what_to_write(text: str) -> None:
    with pytest.raises(ReportError, match=r"for example 5,8,12") as caught:
        parse_looks(text)
    assert caught.value.exit_code == 7


@pytest.mark.parametrize("pairs", [(), (2, 5), (5, 5), (8, 5)])
def test_looks_that_do_not_rise_are_refused(pairs: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="must rise"):
        Looks(pairs=pairs)
