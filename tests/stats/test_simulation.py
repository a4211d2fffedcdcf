import math

import numpy as np
import pytest

from llamatrix.stats.pairs import Pair, Samples
from llamatrix.stats.sequential import SequentialTest, judge_cases
from llamatrix.stats.simulation import (
    Design,
    Noise,
    Rate,
    Score,
    claims_of,
    draw_logs,
    headline_coverage,
    measured_noise,
    power_of_smallest_effect,
    random_places,
    rounded_coverage,
    score,
    scoreboard,
)
from llamatrix.stats.verdict import Unit

QUIET = Noise(within_sd=0.001, between_sd=0.007)
LOUD = Noise(within_sd=0.001, between_sd=0.10)
OURS = (Design.PAIRED, Design.LOOKS)


def _tried(design: Design, loss: float, noise: Noise = QUIET) -> Score:
    return score(design, noise=noise, true_loss=loss, runs=2000, seed=8)


@pytest.mark.parametrize("design", OURS)
def test_equal_arms_are_rarely_called_different_at_gpu_noise(design: Design) -> None:
    found = _tried(design, 0.0)
    assert found.false_alarms is not None
    assert found.false_alarms < 0.005
    assert found.same > 0.8


@pytest.mark.parametrize("design", OURS)
def test_false_alarm_rate_is_at_most_5_percent_under_any_noise(
    design: Design,
) -> None:
    # noise far beyond the margin is the worst case: there the t test decides alone
    found = _tried(design, 0.0, LOUD)
    assert found.false_alarms is not None
    assert 0.01 < found.false_alarms <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / found.runs)


@pytest.mark.parametrize("design", OURS)
@pytest.mark.parametrize("loss", [0.03, 0.05, 0.10])
def test_known_slow_candidate_is_slower_in_nine_runs_of_ten(
    design: Design, loss: float
) -> None:
    found = _tried(design, loss)
    assert found.slower >= 0.9
    assert found.faster == 0


def test_loss_of_the_margin_is_called_half_of_the_time_at_one_look() -> None:
    assert _tried(Design.PAIRED, 0.02).slower == pytest.approx(0.5, abs=0.035)


@pytest.mark.parametrize("noise", [QUIET, LOUD])
@pytest.mark.parametrize("loss", [0.0, 0.02, 0.05])
def test_interval_covers_the_truth_at_the_stated_rate(
    noise: Noise, loss: float
) -> None:
    once, looked = (_tried(design, loss, noise).coverage for design in OURS)
    assert once == pytest.approx(0.95, abs=0.015)
    assert looked is not None
    assert looked > 0.94


def test_planned_looks_use_more_pairs_only_while_undecided() -> None:
    assert _tried(Design.LOOKS, 0.10).mean_per_arm < 5.1
    assert _tried(Design.LOOKS, 0.02).mean_per_arm > 7


@pytest.mark.parametrize("noise", [0.007, 0.07])
@pytest.mark.parametrize("loss", [0.0, 0.01, 0.03, 0.1])
def test_printed_interval_covers_at_any_stopping_look(
    noise: float, loss: float
) -> None:
    found = _tried(Design.LOOKS, loss, Noise(between_sd=noise))
    assert found.coverage is not None
    assert not Rate(share=found.coverage, runs=found.runs).misses(0.95)


def test_change_claimed_under_high_noise_is_often_overstated() -> None:
    found = _tried(Design.LOOKS, 0.03, Noise(between_sd=0.07)).claimed_coverage
    assert found is not None
    assert found.share < 0.92


@pytest.mark.parametrize("sd_log", [0.01, 0.1])
def test_smallest_effect_is_called_as_often_as_stated(sd_log: float) -> None:
    rate = power_of_smallest_effect(sd_log=sd_log, pairs=5, alpha=0.05 / 3, runs=200)
    assert rate.share > 0.82


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.9])
def test_headline_interval_covers_for_any_correlation_of_metrics(
    correlation: float,
) -> None:
    rate = headline_coverage(correlation=correlation, sessions=2, runs=300)
    assert not rate.misses(0.94)


def test_interval_of_rounded_values_covers_the_truth() -> None:
    for noise in (0.02, 0.3, 1.0):
        assert not rounded_coverage(noise_in_steps=noise, runs=400).misses(0.95)


def test_periodic_disturbance_misleads_only_the_fixed_order() -> None:
    rhythmic = Noise(cycle=0.04)
    fixed, ours = (
        _tried(design, 0.0, rhythmic).false_alarms
        for design in (Design.ABBA, Design.LOOKS)
    )
    assert fixed is not None
    assert ours is not None
    assert fixed > 0.4
    assert ours < 0.065


def test_cold_start_misleads_blocks_but_not_random_pairs() -> None:
    cold = Noise(within_sd=0.001, between_sd=0.007, drift=0.04)
    paired, blocks = (
        _tried(Design.PAIRED, 0.0, cold),
        _tried(Design.SEQUENTIAL, 0.0, cold),
    )
    assert paired.false_alarms == 0
    assert paired.coverage is not None
    assert paired.coverage > 0.94
    assert blocks.false_alarms == pytest.approx(0.62, abs=0.05)
    assert blocks.coverage == pytest.approx(0.38, abs=0.05)


@pytest.mark.parametrize(("repetitions", "alarms"), [(3, 0.80), (5, 0.88)])
def test_welch_on_samples_of_one_process_has_many_false_alarms(
    repetitions: int, alarms: float
) -> None:
    # the same figures as in statistics.md
    found = score(
        Design.WELCH, noise=QUIET, true_loss=0.0, repetitions=repetitions, runs=2000
    )
    assert found.false_alarms == pytest.approx(alarms, abs=0.025)
    assert found.coverage == pytest.approx(1 - alarms, abs=0.025)


def test_comparing_means_alone_has_many_false_alarms_under_noise() -> None:
    quiet, loud = _tried(Design.MEANS, 0.0), _tried(Design.MEANS, 0.0, LOUD)
    assert quiet.coverage is None
    assert quiet.false_alarms == pytest.approx(0.041, abs=0.015)
    assert loud.false_alarms == pytest.approx(0.886, abs=0.025)


@pytest.mark.parametrize("noise", [QUIET, LOUD])
def test_simulated_rule_equals_the_shipped_rule(noise: Noise) -> None:
    sequential = SequentialTest()
    logs = draw_logs(
        noise,
        runs=60,
        processes=24,
        repetitions=3,
        generator=np.random.default_rng(1),
    )
    first, second = logs[:, ::2], logs[:, 1::2] - 0.025
    claims = list(
        claims_of(
            *(Design.LOOKS, first, second, -0.025), margin=0.02, sequential=sequential
        )
    )
    assert len(claims) == 60
    for claim, a, b in zip(claims, first, second, strict=True):
        pairs = [
            Pair(
                number=number,
                baseline=float(np.exp(a[number]).mean()),
                candidate=float(np.exp(b[number]).mean()),
            )
            for number in range(12)
        ]
        (cell,) = judge_cases(
            {"a": Samples(unit=Unit.TOKENS_PER_S, pairs=tuple(pairs))}
        ).cells
        shipped = cell.comparison
        assert claim.verdict is shipped.verdict
        assert claim.per_arm == len(shipped.used)
        printed = shipped.interval
        assert printed is not None
        assert claim.covered is (printed.low <= math.exp(-0.025) <= printed.high)


def test_candidate_is_first_or_second_of_its_pair_at_random() -> None:
    places = random_places(1000, 5, np.random.default_rng(2))
    assert np.array_equal(places // 2, np.tile(np.arange(5), (1000, 1)))
    assert np.mean(places % 2) == pytest.approx(0.5, abs=0.03)


def test_scoreboard_has_every_design_at_every_loss_and_repeats_itself() -> None:
    board = scoreboard(noise=QUIET, losses=(0.0, 0.05), runs=50, seed=3)
    assert [(one.design, one.true_loss) for one in board] == [
        (design, loss) for design in Design for loss in (0.0, 0.05)
    ]
    for one in board:
        shares = one.slower + one.faster + one.same + one.inconclusive
        assert shares == pytest.approx(1.0)
        assert (one.false_alarms is None) == (one.true_loss > 0)
    assert board == scoreboard(noise=QUIET, losses=(0.0, 0.05), runs=50, seed=3)
    assert board != scoreboard(noise=QUIET, losses=(0.0, 0.05), runs=50, seed=4)


def test_measured_noise_recovers_the_drawn_noise() -> None:
    true = Noise(within_sd=0.004, between_sd=0.02)
    logs = draw_logs(
        true,
        runs=1,
        processes=2000,
        repetitions=4,
        generator=np.random.default_rng(5),
    )
    found = measured_noise(np.exp(logs[0]).tolist())
    assert found.within_sd == pytest.approx(true.within_sd, rel=0.05)
    assert found.between_sd == pytest.approx(true.between_sd, rel=0.05)


def test_equal_processes_have_no_noise_between_them() -> None:
    assert measured_noise([[1.0, 1.1], [1.1, 1.0]]).between_sd == 0
    with pytest.raises(ValueError, match="two processes of two samples"):
        measured_noise([[1.0, 1.1]])


@pytest.mark.parametrize("design", list(Design))
def test_every_design_distinguishes_a_large_loss_from_a_large_gain(
    design: Design,
) -> None:
    loss, gain = _tried(design, 0.10), _tried(design, -0.10)
    assert loss.slower > 0.99
    assert gain.faster > 0.99
