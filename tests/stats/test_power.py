import math

import pytest

from llamatrix.stats.power import chance_of_slower, smallest_effect

SD_LOG = 0.007 * math.sqrt(2)
"""Of a paired log-ratio, where each process varies by 0.7 %."""


def test_a_loss_of_exactly_the_margin_is_called_half_of_the_time() -> None:
    chance = chance_of_slower(0.02, sd_log=SD_LOG, pairs=12, margin=0.02)
    assert chance == pytest.approx(0.5, abs=0.001)


@pytest.mark.parametrize(("pairs", "power"), [(3, 0.48335), (5, 0.91870), (7, 0.99311)])
def test_without_a_margin_it_is_the_power_of_the_t_test(
    pairs: int, power: float
) -> None:
    # noncentral t, as scipy.stats.nct gives it for a true 2 % loss
    found = chance_of_slower(0.02, sd_log=SD_LOG, pairs=pairs, margin=1e-9)
    assert found == pytest.approx(power, abs=2e-4)


@pytest.mark.parametrize("loss", [0.03, 0.05, 0.10])
def test_known_slow_candidates_are_seen_at_the_first_of_three_looks(
    loss: float,
) -> None:
    chance = chance_of_slower(loss, sd_log=SD_LOG, pairs=5, margin=0.02, alpha=0.05 / 3)
    assert chance >= 0.9


@pytest.mark.parametrize("sd_log", [0.001, 0.01, 0.1, 0.5])
@pytest.mark.parametrize("pairs", [3, 5, 12])
def test_the_smallest_effect_is_the_loss_seen_four_times_in_five(
    sd_log: float, pairs: int
) -> None:
    loss = smallest_effect(sd_log=sd_log, pairs=pairs, margin=0.02)
    assert loss is not None
    assert loss > 0.02
    chance = chance_of_slower(loss, sd_log=sd_log, pairs=pairs, margin=0.02)
    assert chance == pytest.approx(0.8, abs=1e-3)


def test_without_noise_the_smallest_effect_is_the_margin() -> None:
    assert smallest_effect(sd_log=0.0, pairs=5, margin=0.05) == 0.05
    assert chance_of_slower(0.06, sd_log=0.0, pairs=5, margin=0.05) == 1
    assert chance_of_slower(0.04, sd_log=0.0, pairs=5, margin=0.05) == 0


def test_noise_beyond_use_gives_a_loss_of_nearly_everything() -> None:
    loss = smallest_effect(sd_log=50.0, pairs=3, margin=0.02)
    assert loss == pytest.approx(1.0)


def test_two_pairs_can_see_nothing() -> None:
    assert smallest_effect(sd_log=0.01, pairs=2, margin=0.02) is None
    assert chance_of_slower(0.9, sd_log=0.01, pairs=2, margin=0.02) == 0
