import math

import pytest

from llamatrix.stats.intervals import estimate, median_ranks


@pytest.mark.parametrize(
    ("count", "ranks"),
    [(5, None), (6, (0, 5)), (9, (1, 7)), (20, (5, 14)), (100, (39, 60))],
)
def test_median_ranks_match_the_sign_test(
    count: int, ranks: tuple[int, int] | None
) -> None:
    """As tables of order statistics have them, counted from 0."""
    assert median_ranks(count) == ranks


# Student's own example (Biometrika 1908): extra hours of sleep, ten patients, two drugs.
SLEEP_H = (1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4)


def test_sleep_data_give_the_textbook_interval_and_p() -> None:
    found = estimate(SLEEP_H)
    half = found.log_half_width()
    assert half is not None
    assert found.mean_log == pytest.approx(1.58)
    assert found.mean_log - half == pytest.approx(0.7001142, abs=1e-6)
    assert found.mean_log + half == pytest.approx(2.4598858, abs=1e-6)
    assert found.p_value == pytest.approx(0.002833, abs=1e-6)


def test_interval_of_five_pairs_matches_hand_calculation() -> None:
    # mean -0.03; squares sum to 2e-4, variance 5e-5, error sqrt(1e-5); t(4) = 2.776445
    found = estimate((-0.03, -0.02, -0.04, -0.03, -0.03))
    interval = found.interval()
    assert interval is not None
    assert found.sd_log == pytest.approx(math.sqrt(5e-5))
    assert found.ratio == pytest.approx(math.exp(-0.03))
    half = 2.776445 * math.sqrt(1e-5)
    assert interval.low == pytest.approx(math.exp(-0.03 - half), rel=1e-7)
    assert interval.high == pytest.approx(math.exp(-0.03 + half), rel=1e-7)
    assert interval.half_width == pytest.approx((interval.high - interval.low) / 2)


def test_smaller_alpha_widens_the_interval() -> None:
    found = estimate((-0.03, -0.02, -0.04, -0.03, -0.03))
    half = found.log_half_width(0.05 / 3)
    # t(4) at 1 - 0.05/6
    assert half == pytest.approx(3.961 * math.sqrt(1e-5), rel=1e-3)


def test_one_pair_has_a_ratio_without_interval() -> None:
    found = estimate((-0.1,))
    assert found.ratio == pytest.approx(math.exp(-0.1))
    assert found.sd_log is None
    assert found.interval() is None
    assert found.p_value is None


def test_interval_of_two_pairs_has_one_degree_of_freedom() -> None:
    half = estimate((-0.01, 0.01)).log_half_width()
    assert half == pytest.approx(12.7062 * 0.01, rel=1e-5)


@pytest.mark.parametrize("log_ratio", [0.0, -0.1])
def test_pairs_without_spread_have_neither_interval_nor_p(log_ratio: float) -> None:
    found = estimate((log_ratio,) * 5)
    assert found.interval() is None
    assert found.p_value is None


def test_rounding_widens_the_interval_and_weakens_the_p_value() -> None:
    ratios = (-0.03, -0.02, -0.04, -0.03, -0.03)
    exact, rounded = estimate(ratios), estimate(ratios, rounding_log=0.01)
    half, wider = exact.log_half_width(), rounded.log_half_width()
    assert half is not None
    assert wider == pytest.approx(half + 0.01)
    assert rounded.p_value == pytest.approx(
        estimate([one + 0.01 for one in ratios]).p_value
    )


def test_float_rounding_is_not_a_spread() -> None:
    found = estimate([math.log(36.0 / 40.0), math.log(27.0) - math.log(30.0)] * 3)
    assert found.sd_log == 0
