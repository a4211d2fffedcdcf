import math
from dataclasses import replace

import pytest
from tests.stats.samples import QUIET, pairs_of, swapped

from llamatrix.stats.judge import Comparison, judge
from llamatrix.stats.metric import Metric, Unit
from llamatrix.stats.pairs import LeftOut, Pair
from llamatrix.stats.word import Word

SLOW = tuple(0.95 * math.exp(log) for log in QUIET)
EQUAL = tuple(math.exp(log) for log in QUIET)


def _rates(ratios: tuple[float, ...], **changes: Pair) -> Comparison:
    pairs = list(pairs_of(ratios))
    for name, pair in changes.items():
        pairs[int(name[1:]) - 1] = pair
    return judge(pairs, unit=Unit.TOKENS_PER_S)


def test_a_rate_that_fell_is_slower_and_its_ratio_below_1() -> None:
    found = _rates(SLOW)
    assert found.word is Word.SLOWER
    assert found.estimate is not None
    assert found.estimate.ratio == pytest.approx(0.95)


@pytest.mark.parametrize("unit", [Unit.SECONDS, Unit.MILLISECONDS])
def test_a_time_that_rose_is_slower_and_its_ratio_below_1(unit: Unit) -> None:
    longer = judge(pairs_of([1 / (ratio * 0.95) for ratio in SLOW]), unit=unit)
    assert longer.word is Word.SLOWER
    assert longer.estimate is not None
    assert longer.estimate.ratio == pytest.approx(0.95 * 0.95)
    shorter = judge(pairs_of(tuple(0.8 * ratio for ratio in SLOW)), unit=unit)
    assert shorter.word is Word.FASTER


@pytest.mark.parametrize("factor", [0.9, 0.975, 0.99, 1.0])
@pytest.mark.parametrize("unit", list(Unit))
def test_swapped_arms_give_the_inverse_ratio_and_the_mirrored_word(
    factor: float, unit: Unit
) -> None:
    mirror = {Word.SLOWER: Word.FASTER, Word.FASTER: Word.SLOWER}
    pairs = pairs_of(tuple(factor * ratio for ratio in EQUAL))
    there, back = judge(pairs, unit=unit), judge(swapped(pairs), unit=unit)
    assert there.estimate is not None
    assert back.estimate is not None
    assert there.interval is not None
    assert back.interval is not None
    assert back.word is mirror.get(there.word, there.word)
    assert back.estimate.ratio == pytest.approx(1 / there.estimate.ratio)
    assert back.interval.low == pytest.approx(1 / there.interval.high)


def test_the_margin_is_2_percent_for_rates_and_5_for_the_first_token() -> None:
    assert Metric.GENERATION.margin == Metric.PROMPT.margin == 0.02
    assert Metric.FIRST_TOKEN.margin == 0.05
    later = pairs_of(tuple(1.03 * ratio for ratio in EQUAL))
    assert judge(later, unit=Unit.SECONDS).word is Word.SAME
    assert judge(later, unit=Unit.SECONDS, margin=0.02).word is Word.SLOWER


@pytest.mark.parametrize("ratio", [1.0, 0.9, 1.1])
def test_pairs_of_the_very_same_ratio_support_no_claim(ratio: float) -> None:
    found = _rates((ratio,) * 5)
    assert found.word is Word.INCONCLUSIVE
    assert found.interval is None
    assert found.smallest_effect() is None
    assert "the very same ratio" in found.notes[0]


@pytest.mark.parametrize("pairs", [1, 2])
def test_one_or_two_pairs_are_inconclusive_and_say_what_a_claim_needs(
    pairs: int,
) -> None:
    found = _rates((0.5, 0.51)[:pairs])
    assert found.word is Word.INCONCLUSIVE
    assert found.notes == (f"complete, undisturbed pairs: {pairs}; a claim needs 3",)
    assert (found.interval is None) == (pairs == 1)
    assert found.smallest_effect() is None


def test_a_candidate_without_any_value_is_broken() -> None:
    pairs = [replace(pair, candidate=None) for pair in pairs_of(EQUAL)]
    found = judge(pairs, unit=Unit.TOKENS_PER_S)
    assert found.word is Word.BROKEN
    assert found.estimate is None
    assert "5 of 5 pairs, the candidate in none" in found.notes[0]


def test_a_baseline_without_any_value_is_not_the_candidates_fault() -> None:
    pairs = [replace(pair, baseline=None) for pair in pairs_of(EQUAL)]
    assert judge(pairs, unit=Unit.TOKENS_PER_S).word is Word.INCONCLUSIVE


def test_no_pairs_at_all_are_inconclusive() -> None:
    assert judge([], unit=Unit.TOKENS_PER_S).word is Word.INCONCLUSIVE


def test_a_candidate_that_failed_once_is_not_called_same() -> None:
    failed = Pair(number=6, baseline=40.0, candidate=None)
    found = _rates((*EQUAL, 1.0), p6=failed)
    assert found.word is Word.INCONCLUSIVE
    assert "no value in pair 6" in found.notes[0]
    assert found.left_out == (LeftOut(pair=6, reason="the candidate gave no value"),)


def test_a_candidate_that_failed_once_can_still_be_slower() -> None:
    failed = Pair(number=6, baseline=40.0, candidate=None)
    assert _rates((*SLOW, 1.0), p6=failed).word is Word.SLOWER


def test_a_baseline_that_failed_once_leaves_the_word_alone() -> None:
    failed = Pair(number=6, baseline=None, candidate=40.0)
    assert _rates((*EQUAL, 1.0), p6=failed).word is Word.SAME


def test_a_disturbed_pair_is_left_out_with_its_reason() -> None:
    hot = Pair(number=3, baseline=40.0, candidate=4.0, disturbed="thermal throttling")
    found = _rates((*EQUAL[:2], 1.0, *EQUAL[2:]), p3=hot)
    assert found.word is Word.SAME
    assert found.used == (1, 2, 4, 5, 6)
    assert found.left_out == (LeftOut(pair=3, reason="disturbed: thermal throttling"),)


def test_a_disturbed_candidate_without_a_value_is_not_broken() -> None:
    lost = Pair(number=1, baseline=40.0, candidate=None, disturbed="foreign load")
    assert judge([lost], unit=Unit.TOKENS_PER_S).word is Word.INCONCLUSIVE


def test_foreign_load_from_the_middle_of_a_run_is_no_false_alarm() -> None:
    # a burner starts between the arms of pair 3 and slows everything by a third
    after = (1.001, 0.996)
    found = _rates((*EQUAL[:2], 0.67, *after))
    assert found.word is Word.INCONCLUSIVE


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
def test_a_pair_with_an_impossible_value_cannot_be_made(value: float) -> None:
    with pytest.raises(ValueError, match="pair 7: candidate: not above 0"):
        Pair(number=7, baseline=40.0, candidate=value)
