from itertools import combinations

import pytest

from llamatrix.stats.passes import Passes, wilson
from llamatrix.stats.turns import compare_turns, turn_curve


def test_the_curve_counts_trials_correct_by_each_turn_and_the_censored() -> None:
    curve = turn_curve([1, 3, None, 1, None], max_turns=3)
    assert [point.correct for point in curve.points] == [2, 2, 3]
    assert [point.share for point in curve.points] == [0.4, 0.4, 0.6]
    assert [point.turn for point in curve.points] == [1, 2, 3]
    assert (curve.trials, curve.censored) == (5, 2)
    assert curve.points[2].band == wilson(Passes(passed=3, trials=5))


def test_arms_wholly_apart_have_the_smallest_p_there_is() -> None:
    # 2 of the 20 ways to choose three of six
    found = compare_turns([1, 1, 1], [3, 3, 3], max_turns=5)
    assert found.p_value == pytest.approx(2 / 20)
    assert found.difference == pytest.approx(2.0)


def test_a_censored_trial_counts_as_one_turn_beyond_the_last() -> None:
    found = compare_turns([1, 1], [None, None], max_turns=5)
    assert found.difference == 5
    assert found == compare_turns([1, 1], [6, 6], max_turns=6)


def test_equal_arms_have_p_1() -> None:
    assert compare_turns([1, 2, None], [1, 2, None], max_turns=2).p_value == 1


def test_swapped_arms_keep_p_and_turn_the_difference() -> None:
    there = compare_turns([1, 2, 2, 4], [3, None], max_turns=4)
    back = compare_turns([3, None], [1, 2, 2, 4], max_turns=4)
    assert back.p_value == pytest.approx(there.p_value)
    assert back.difference == pytest.approx(-there.difference)


def test_the_count_of_relabellings_agrees_with_listing_them_all() -> None:
    baseline, candidate = [1, 2, 5, 1], [3, None, 4]
    scores = [1, 2, 5, 1, 3, 6, 4]
    mean = sum(scores) / 7
    seen = abs(sum(scores[4:]) / 3 - mean)
    listed = [abs(sum(some) / 3 - mean) for some in combinations(scores, 3)]
    share = sum(one >= seen - 1e-12 for one in listed) / len(listed)
    found = compare_turns(baseline, candidate, max_turns=5)
    assert found.p_value == pytest.approx(share)


def test_impossible_turns_are_refused() -> None:
    with pytest.raises(ValueError, match="6 is not within 1 to 5"):
        turn_curve([6], max_turns=5)
    with pytest.raises(ValueError, match="0 is not within"):
        compare_turns([0], [1], max_turns=5)
    with pytest.raises(ValueError, match="an arm without trials"):
        compare_turns([], [1], max_turns=5)
    with pytest.raises(ValueError, match="no trials"):
        turn_curve([], max_turns=5)
