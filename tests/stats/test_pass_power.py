from math import comb

import pytest

from llamatrix.stats.pass_power import (
    false_alarms,
    most_called,
    smallest_drop,
    trials_for_same,
)
from llamatrix.stats.passes import Passes, compare_passes
from llamatrix.stats.word import Word


@pytest.mark.parametrize(
    ("trials", "most"), [(1, None), (2, 0), (3, 0), (5, 2), (10, 6)]
)
def test_this_many_passes_are_called_worse_than_all(
    trials: int, most: int | None
) -> None:
    assert most_called(trials) == most


@pytest.mark.parametrize("trials", [2, 5, 10])
def test_the_smallest_drop_is_called_in_four_of_five_runs(trials: int) -> None:
    drop, most = smallest_drop(trials), most_called(trials)
    assert drop is not None
    assert most is not None
    rate = 1 - drop
    called = sum(
        comb(trials, n) * rate**n * (1 - rate) ** (trials - n) for n in range(most + 1)
    )
    assert called == pytest.approx(0.8)


def test_a_single_trial_sees_nothing() -> None:
    assert smallest_drop(1) is None
    assert false_alarms(1) == 0


def test_false_alarms_of_two_trials_are_worked_by_hand() -> None:
    # only 2/2 to 0/2 is called: p^2 (1 - p)^2, largest at p = 1/2
    assert false_alarms(2) == pytest.approx(1 / 16)


def test_more_trials_see_smaller_drops() -> None:
    seen = [smallest_drop(trials) for trials in (3, 5, 10, 20)]
    assert seen == sorted(seen, key=lambda drop: -(drop or 0))


def test_perfect_arms_are_the_same_from_there_on() -> None:
    trials = trials_for_same()
    enough, fewer = (
        Passes(passed=count, trials=count) for count in (trials, trials - 1)
    )
    assert compare_passes(enough, enough).word is Word.SAME
    assert compare_passes(fewer, fewer).word is Word.INCONCLUSIVE
