"""One more draw of what several trials sampled: intervals, p values, power."""

import math

import pytest

from llamatrix.stats.prediction import (
    RANGE_TRIALS,
    log_prediction,
    range_detectable_factor,
    range_p_value,
)

E = [math.exp(z) for z in (-0.3, 0.0, 0.3)]
"""Mean log 0, log-sd 0.3."""


def test_the_interval_of_one_more_draw_is_students_t_with_one_draw_more() -> None:
    found = log_prediction(E)
    half = 4.302652729749464 * 0.3 * math.sqrt(4 / 3)
    assert found.interval == pytest.approx((math.exp(-half), math.exp(half)))
    assert found.p_value(math.exp(half), math.exp(half)) == pytest.approx(0.05)


def test_a_printed_interval_counts_from_its_nearer_end() -> None:
    found = log_prediction(E)
    assert found.p_value(0.9, 1.1) == 1.0
    assert found.p_value(2.0, 9.0) == found.p_value(2.0, 2.0)
    assert found.p_value(0.0, 0.5) == found.p_value(0.5, 0.5)


def test_a_tolerance_widens_the_interval_and_excuses_the_draw() -> None:
    plain, tolerant = log_prediction(E), log_prediction(E, tolerance_log=0.1)
    assert tolerant.half_width == pytest.approx(plain.half_width + 0.1)
    assert tolerant.p_value(1.1, 1.1) == 1.0 > plain.p_value(1.1, 1.1)


def test_a_least_deviation_is_kept() -> None:
    found = log_prediction([5.0, 5.0, 5.0], least_sd_log=0.03)
    assert found.sd_log == 0.03
    assert log_prediction([5.0, 5.0, 5.0]).p_value(5.1, 5.1) == 0.0


@pytest.mark.parametrize(
    ("trials", "factor"), [(3, 7.09), (5, 3.44), (10, 2.69), (20, 2.48)]
)
def test_the_detectable_factor_has_a_floor_that_no_number_of_trials_lowers(
    trials: int, factor: float
) -> None:
    unit = [(-1) ** number for number in range(trials)]
    mean = sum(unit) / trials
    sd = math.sqrt(sum((one - mean) ** 2 for one in unit) / (trials - 1))
    values = [math.exp(0.3 * one / sd) for one in unit]
    assert log_prediction(values).detectable_factor == pytest.approx(factor, abs=0.01)


def test_a_range_says_something_from_39_trials_on() -> None:
    values = [float(number) for number in range(1, RANGE_TRIALS + 1)]
    assert range_p_value(values, 40, 40) == pytest.approx(0.05)
    assert range_p_value(values[:-1], 40, 40) > 0.05
    assert range_p_value(values, 39, 39) > 0.05
    assert range_p_value(values, 20, 20) == 1.0


def test_a_range_that_reaches_zero_has_no_detectable_factor() -> None:
    assert range_detectable_factor([0.0, *range(1, 40)]) == math.inf
    assert range_detectable_factor([10.0] * 40) == 1.0
