from itertools import combinations
from math import comb

import pytest

from llamatrix.stats.intervals import boschloo_p
from llamatrix.stats.pass_rates import (
    Passes,
    compare_passes,
    compare_turns,
    drop_probability,
    false_alarms,
    is_hard_break,
    most_called,
    smallest_drop,
    trials_for_same,
    turn_curve,
    wilson,
)
from llamatrix.stats.verdict import Verdict


def _of(passed: int, trials: int) -> Passes:
    return Passes(passed=passed, trials=trials)


@pytest.mark.parametrize(
    ("passed", "trials", "low", "high"),
    [(3, 3, 0.44, 1.0), (2, 3, 0.21, 0.94), (5, 5, 0.57, 1.0), (10, 10, 0.72, 1.0)],
)
def test_wilson_interval_matches_statistics_md(
    passed: int, trials: int, low: float, high: float
) -> None:
    found = wilson(_of(passed, trials))
    assert (round(found.low, 2), round(found.high, 2)) == (low, high)


def test_wilson_interval_of_failures_mirrors_passes() -> None:
    passes, failures = wilson(_of(7, 10)), wilson(_of(3, 10))
    assert failures.low == pytest.approx(1 - passes.high)
    assert wilson(_of(0, 3)).low == 0
    assert wilson(_of(0, 3)).high == pytest.approx(1 - wilson(_of(3, 3)).low)


@pytest.mark.parametrize(
    ("baseline", "candidate", "chance"),
    [
        ((5, 5), (3, 5), 0.91),
        ((3, 3), (1, 3), 0.93),
        ((10, 10), (7, 10), 0.955),
        ((9, 10), (6, 10), 0.926),
    ],
)
def test_probability_of_any_drop_matches_statistics_md(
    baseline: tuple[int, int], candidate: tuple[int, int], chance: float
) -> None:
    found = drop_probability(_of(*baseline), _of(*candidate), points=0.0)
    assert found == pytest.approx(chance, abs=0.005)


def test_probability_of_drop_matches_hand_calculation() -> None:
    # Beta(2, 1) over Beta(1, 2): densities 2x and 2(1 - x); P(y < x) = 5/6
    assert drop_probability(_of(1, 1), _of(0, 1), points=0.0) == pytest.approx(5 / 6)
    # and P(y < x - d) is the integral of 2x(1 - (1 - x + d)^2) from d to 1
    d = 0.1
    by_hand = sum(
        2 * x * (1 - (1 - x + d) ** 2) * (1 - d) / 100_000
        for x in (d + (1 - d) * (i + 0.5) / 100_000 for i in range(100_000))
    )
    assert drop_probability(_of(1, 1), _of(0, 1)) == pytest.approx(by_hand, abs=1e-8)


def test_equal_arms_are_as_likely_better_as_worse() -> None:
    assert drop_probability(_of(4, 9), _of(4, 9), points=0.0) == pytest.approx(0.5)


def test_boschloo_p_matches_hand_calculation() -> None:
    # 4/4 against 1/4: as extreme are (1, 4), (0, 3) and (0, 4) passes; their chance
    # 4p^5 q^3 + 4p^3 q^5 + p^4 q^4 is largest at p = 1/2: 9/256, on each side
    assert boschloo_p(1, 4, 4, 4) == pytest.approx(18 / 256, abs=1e-6)


@pytest.mark.parametrize(
    ("trials", "passed"), [(3, 0), (4, 0), (5, 1), (6, 2), (8, 4), (10, 6)]
)
def test_boschloo_detects_only_large_drops_from_a_perfect_baseline(
    trials: int, passed: int
) -> None:
    assert boschloo_p(passed, trials, trials, trials) <= 0.05
    assert boschloo_p(passed + 1, trials, trials, trials) > 0.05


@pytest.mark.parametrize(
    ("baseline", "candidate", "broken"),
    [
        ((4, 4), (0, 4), True),
        ((5, 5), (0, 1), True),
        ((3, 3), (0, 3), False),
        ((4, 5), (0, 5), False),
        ((4, 4), (1, 4), False),
    ],
)
def test_no_pass_where_the_baseline_passed_all_of_four_is_a_hard_break(
    baseline: tuple[int, int],
    candidate: tuple[int, int],
    *,
    broken: bool,
) -> None:
    assert is_hard_break(_of(*baseline), _of(*candidate)) is broken
    verdict = compare_passes(_of(*baseline), _of(*candidate)).verdict
    assert (verdict is Verdict.BROKEN) is broken


@pytest.mark.parametrize(
    ("baseline", "candidate", "verdict"),
    [
        ((10, 10), (5, 10), Verdict.SLOWER),
        ((5, 10), (10, 10), Verdict.FASTER),
        ((3, 3), (2, 3), Verdict.INCONCLUSIVE),
        ((98, 100), (97, 100), Verdict.SAME),
    ],
)
def test_verdict_needs_posterior_above_90_percent(
    baseline: tuple[int, int], candidate: tuple[int, int], verdict: Verdict
) -> None:
    found = compare_passes(_of(*baseline), _of(*candidate))
    assert found.verdict is verdict
    assert (found.drop_probability > 0.9) == (verdict is Verdict.SLOWER)


def test_comparison_keeps_both_arms_and_boschloo_beside_the_gate() -> None:
    found = compare_passes(_of(5, 5), _of(1, 5))
    assert (found.baseline, found.candidate) == (_of(5, 5), _of(1, 5))
    assert found.boschloo_p == boschloo_p(1, 5, 5, 5)


def test_impossible_counts_are_refused() -> None:
    with pytest.raises(ValueError, match="4 of 3"):
        _of(4, 3)
    with pytest.raises(ValueError, match="0 of 0"):
        _of(0, 0)


@pytest.mark.parametrize(
    ("baseline", "candidate", "chance"),
    [
        # x ~ Beta(n + 1, 1): P(y < x) = 1 - E[y^(n + 1)], a quotient of factorials
        ((5, 5), (3, 5), 1 - 120 / 1320),
        ((3, 3), (1, 3), 1 - 24 / 336),
        ((10, 10), (7, 10), 1 - 7920 / 175560),
        ((3, 3), (0, 3), 1 - 1 / 70),
    ],
)
def test_probability_of_drop_from_perfect_baseline_matches_hand_calculation(
    baseline: tuple[int, int], candidate: tuple[int, int], chance: float
) -> None:
    found = drop_probability(_of(*baseline), _of(*candidate), points=0.0)
    assert found == pytest.approx(chance, abs=1e-12)


def test_certain_drop_below_ten_points_is_not_slower() -> None:
    """5/5 to 3/5 fell by anything with 0.91, by more than 10 points with 0.81 only."""
    found = compare_passes(_of(5, 5), _of(3, 5))
    assert found.verdict is Verdict.INCONCLUSIVE
    assert found.drop_probability == pytest.approx(0.81, abs=0.005)


@pytest.mark.parametrize(
    ("trials", "most"), [(1, None), (2, 0), (3, 0), (5, 2), (10, 6)]
)
def test_most_called_is_the_largest_count_called_worse(
    trials: int, most: int | None
) -> None:
    assert most_called(trials) == most


@pytest.mark.parametrize("trials", [2, 5, 10])
def test_smallest_drop_is_called_in_80_percent_of_runs(trials: int) -> None:
    drop, most = smallest_drop(trials), most_called(trials)
    assert drop is not None
    assert most is not None
    rate = 1 - drop
    called = sum(
        comb(trials, n) * rate**n * (1 - rate) ** (trials - n) for n in range(most + 1)
    )
    assert called == pytest.approx(0.8)


def test_single_trial_detects_no_drop() -> None:
    assert smallest_drop(1) is None
    assert false_alarms(1) == 0


def test_false_alarm_rate_of_two_trials_matches_hand_calculation() -> None:
    # only 2/2 to 0/2 is called: p^2 (1 - p)^2, largest at p = 1/2
    assert false_alarms(2) == pytest.approx(1 / 16)


def test_more_trials_detect_smaller_drops() -> None:
    seen = [smallest_drop(trials) for trials in (3, 5, 10, 20)]
    assert seen == sorted(seen, key=lambda drop: -(drop or 0))


def test_perfect_arms_are_same_from_trials_for_same_on() -> None:
    trials = trials_for_same()
    enough, fewer = (
        Passes(passed=count, trials=count) for count in (trials, trials - 1)
    )
    assert compare_passes(enough, enough).verdict is Verdict.SAME
    assert compare_passes(fewer, fewer).verdict is Verdict.INCONCLUSIVE


def test_curve_counts_trials_correct_by_each_turn_and_the_censored() -> None:
    curve = turn_curve([1, 3, None, 1, None], max_turns=3)
    assert [point.correct for point in curve.points] == [2, 2, 3]
    assert [point.share for point in curve.points] == [0.4, 0.4, 0.6]
    assert [point.turn for point in curve.points] == [1, 2, 3]
    assert (curve.trials, curve.censored) == (5, 2)
    assert curve.points[2].band == wilson(Passes(passed=3, trials=5))


def test_fully_separated_arms_have_the_smallest_possible_p() -> None:
    # 2 of the 20 ways to choose three of six
    found = compare_turns([1, 1, 1], [3, 3, 3], max_turns=5)
    assert found.p_value == pytest.approx(2 / 20)
    assert found.difference == pytest.approx(2.0)


def test_censored_trial_counts_as_one_turn_beyond_the_last() -> None:
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


def test_counted_relabellings_equal_enumerated_ones() -> None:
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
