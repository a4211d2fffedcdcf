import math
from dataclasses import replace

import pytest
from tests.stats.samples import QUIET, pairs_of, swapped

from llamatrix.stats.judge import Comparison, judge
from llamatrix.stats.metric import Unit
from llamatrix.stats.word import Word

RATIOS = tuple(0.95 * math.exp(log) for log in QUIET)
BASELINE_MHZ = 1800.0


def _judged(clock_ratio: float, unit: Unit = Unit.TOKENS_PER_S) -> Comparison:
    ratios = RATIOS if unit.higher_is_better else [1 / (r * 0.97) for r in RATIOS]
    pairs = [
        replace(
            pair,
            baseline_mhz=BASELINE_MHZ,
            candidate_mhz=BASELINE_MHZ * clock_ratio,
        )
        for pair in pairs_of(ratios)
    ]
    return judge(pairs, unit=unit)


def test_a_loss_that_the_clocks_explain_is_still_slower_but_clock_not_code() -> None:
    found = _judged(0.95)
    assert found.word is Word.SLOWER
    assert found.per_cycle is not None
    assert found.per_cycle.ratio == pytest.approx(1.0)
    assert found.notes == ("clock, not code: per clock cycle the change vanishes",)


def test_a_time_is_multiplied_by_the_clock() -> None:
    found = _judged(0.95 * 0.97, Unit.SECONDS)
    assert found.word is Word.SLOWER
    assert found.per_cycle is not None
    assert found.per_cycle.ratio == pytest.approx(1.0)


def test_a_loss_at_equal_clocks_is_code() -> None:
    assert _judged(1.0).notes == (
        "per clock cycle the change is still there: code, not clock",
    )


def test_a_clock_that_hides_a_gain_per_cycle_is_told() -> None:
    assert "points the other way" in _judged(0.90).notes[0]


def test_swapped_arms_swap_the_clocks_with_them() -> None:
    found = _judged(0.95)
    pairs = [
        replace(pair, baseline_mhz=BASELINE_MHZ, candidate_mhz=BASELINE_MHZ * 0.95)
        for pair in pairs_of(RATIOS)
    ]
    back = judge(swapped(pairs), unit=Unit.TOKENS_PER_S)
    assert back.word is Word.FASTER
    assert back.notes == found.notes


def test_one_pair_without_clocks_leaves_clock_space_out() -> None:
    pairs = [
        replace(pair, baseline_mhz=BASELINE_MHZ, candidate_mhz=BASELINE_MHZ)
        for pair in pairs_of(RATIOS)
    ]
    pairs[2] = replace(pairs[2], candidate_mhz=None)
    found = judge(pairs, unit=Unit.TOKENS_PER_S)
    assert found.per_cycle is None
    assert found.notes == ()
