"""One more draw of what several trials sampled: intervals, p values, power."""

import math

import pytest

from llamatrix.stats.power import (
    RANGE_TRIALS,
    chance_of_slower,
    log_prediction,
    range_detectable_factor,
    range_p_value,
    smallest_effect,
)

SD_LOG = 0.007 * math.sqrt(2)
"""Of a paired log-ratio, where each process varies by 0.7 %."""


def test_loss_of_exactly_the_margin_is_called_half_of_the_time() -> None:
    chance = chance_of_slower(0.02, sd_log=SD_LOG, pairs=12, margin=0.02)
    assert chance == pytest.approx(0.5, abs=0.001)


@pytest.mark.parametrize(("pairs", "power"), [(3, 0.48335), (5, 0.91870), (7, 0.99311)])
def test_power_without_margin_equals_t_test(pairs: int, power: float) -> None:
    # noncentral t, as scipy.stats.nct gives it for a true 2 % loss
    found = chance_of_slower(0.02, sd_log=SD_LOG, pairs=pairs, margin=1e-9)
    assert found == pytest.approx(power, abs=2e-4)


@pytest.mark.parametrize("loss", [0.03, 0.05, 0.10])
def test_known_slow_candidate_is_detected_at_the_first_look(
    loss: float,
) -> None:
    chance = chance_of_slower(loss, sd_log=SD_LOG, pairs=5, margin=0.02, alpha=0.05 / 3)
    assert chance >= 0.9


@pytest.mark.parametrize("sd_log", [0.001, 0.01, 0.1, 0.5])
@pytest.mark.parametrize("pairs", [3, 5, 12])
def test_smallest_effect_is_detected_in_80_percent_of_runs(
    sd_log: float, pairs: int
) -> None:
    loss = smallest_effect(sd_log=sd_log, pairs=pairs, margin=0.02)
    assert loss is not None
    assert loss > 0.02
    chance = chance_of_slower(loss, sd_log=sd_log, pairs=pairs, margin=0.02)
    assert chance == pytest.approx(0.8, abs=1e-3)


def test_smallest_effect_without_noise_is_the_margin() -> None:
    assert smallest_effect(sd_log=0.0, pairs=5, margin=0.05) == 0.05
    assert chance_of_slower(0.06, sd_log=0.0, pairs=5, margin=0.05) == 1
    assert chance_of_slower(0.04, sd_log=0.0, pairs=5, margin=0.05) == 0


def test_extreme_noise_gives_smallest_effect_near_one() -> None:
    loss = smallest_effect(sd_log=50.0, pairs=3, margin=0.02)
    assert loss == pytest.approx(1.0)


def test_two_pairs_detect_no_effect() -> None:
    assert smallest_effect(sd_log=0.01, pairs=2, margin=0.02) is None
    assert chance_of_slower(0.9, sd_log=0.01, pairs=2, margin=0.02) == 0


E = [math.exp(z) for z in (-0.3, 0.0, 0.3)]
"""Mean log 0, log-sd 0.3."""


def test_prediction_interval_is_students_t_with_one_more_draw() -> None:
    found = log_prediction(E)
    half = 4.302652729749464 * 0.3 * math.sqrt(4 / 3)
    assert found.interval == pytest.approx((math.exp(-half), math.exp(half)))
    assert found.p_value(math.exp(half), math.exp(half)) == pytest.approx(0.05)


def test_printed_interval_is_compared_by_its_nearer_end() -> None:
    found = log_prediction(E)
    assert found.p_value(0.9, 1.1) == 1.0
    assert found.p_value(2.0, 9.0) == found.p_value(2.0, 2.0)
    assert found.p_value(0.0, 0.5) == found.p_value(0.5, 0.5)


def test_tolerance_widens_the_interval_and_raises_p() -> None:
    plain, tolerant = log_prediction(E), log_prediction(E, tolerance_log=0.1)
    assert tolerant.half_width == pytest.approx(plain.half_width + 0.1)
    assert tolerant.p_value(1.1, 1.1) == 1.0 > plain.p_value(1.1, 1.1)


def test_deviation_is_at_least_the_given_minimum() -> None:
    found = log_prediction([5.0, 5.0, 5.0], least_sd_log=0.03)
    assert found.sd_log == 0.03
    assert log_prediction([5.0, 5.0, 5.0]).p_value(5.1, 5.1) == 0.0


@pytest.mark.parametrize(
    ("trials", "factor"), [(3, 7.09), (5, 3.44), (10, 2.69), (20, 2.48)]
)
def test_detectable_factor_has_a_floor_for_any_number_of_trials(
    trials: int, factor: float
) -> None:
    unit = [(-1) ** number for number in range(trials)]
    mean = sum(unit) / trials
    sd = math.sqrt(sum((one - mean) ** 2 for one in unit) / (trials - 1))
    values = [math.exp(0.3 * one / sd) for one in unit]
    assert log_prediction(values).detectable_factor == pytest.approx(factor, abs=0.01)


def test_range_test_is_significant_from_39_trials_on() -> None:
    values = [float(number) for number in range(1, RANGE_TRIALS + 1)]
    assert range_p_value(values, 40, 40) == pytest.approx(0.05)
    assert range_p_value(values[:-1], 40, 40) > 0.05
    assert range_p_value(values, 39, 39) > 0.05
    assert range_p_value(values, 20, 20) == 1.0


def test_range_that_reaches_zero_has_no_detectable_factor() -> None:
    assert range_detectable_factor([0.0, *range(1, 40)]) == math.inf
    assert range_detectable_factor([10.0] * 40) == 1.0
