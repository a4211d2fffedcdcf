import pytest

from llamatrix.stats.distributions import boschloo_p
from llamatrix.stats.passes import (
    Passes,
    compare_passes,
    drop_probability,
    is_hard_break,
    pass_at_k,
    wilson,
)
from llamatrix.stats.word import Word


def _of(passed: int, trials: int) -> Passes:
    return Passes(passed=passed, trials=trials)


@pytest.mark.parametrize(
    ("passed", "trials", "low", "high"),
    [(3, 3, 0.44, 1.0), (2, 3, 0.21, 0.94), (5, 5, 0.57, 1.0), (10, 10, 0.72, 1.0)],
)
def test_wilson_gives_the_intervals_of_statistics_md(
    passed: int, trials: int, low: float, high: float
) -> None:
    found = wilson(_of(passed, trials))
    assert (round(found.low, 2), round(found.high, 2)) == (low, high)


def test_wilson_of_failures_mirrors_that_of_passes() -> None:
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
def test_the_chance_of_any_drop_is_that_of_statistics_md(
    baseline: tuple[int, int], candidate: tuple[int, int], chance: float
) -> None:
    found = drop_probability(_of(*baseline), _of(*candidate), points=0.0)
    assert found == pytest.approx(chance, abs=0.005)


def test_the_chance_of_a_drop_is_exact_where_it_can_be_worked_by_hand() -> None:
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


def test_boschloo_is_exact_where_it_can_be_worked_by_hand() -> None:
    # 4/4 against 1/4: as extreme are (1, 4), (0, 3) and (0, 4) passes; their chance
    # 4p^5 q^3 + 4p^3 q^5 + p^4 q^4 is largest at p = 1/2: 9/256, on each side
    assert boschloo_p(1, 4, 4, 4) == pytest.approx(18 / 256, abs=1e-6)


@pytest.mark.parametrize(
    ("trials", "passed"), [(3, 0), (4, 0), (5, 1), (6, 2), (8, 4), (10, 6)]
)
def test_boschloo_calls_these_falls_from_a_perfect_baseline_and_no_smaller(
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
    word = compare_passes(_of(*baseline), _of(*candidate)).word
    assert (word is Word.BROKEN) is broken


@pytest.mark.parametrize(
    ("baseline", "candidate", "word"),
    [
        ((10, 10), (5, 10), Word.SLOWER),
        ((5, 10), (10, 10), Word.FASTER),
        ((3, 3), (2, 3), Word.INCONCLUSIVE),
        ((98, 100), (97, 100), Word.SAME),
    ],
)
def test_a_word_needs_a_posterior_above_nine_tenths(
    baseline: tuple[int, int], candidate: tuple[int, int], word: Word
) -> None:
    found = compare_passes(_of(*baseline), _of(*candidate))
    assert found.word is word
    assert (found.drop_probability > 0.9) == (word is Word.SLOWER)


def test_a_comparison_keeps_both_arms_and_boschloo_beside_the_gate() -> None:
    found = compare_passes(_of(5, 5), _of(1, 5))
    assert (found.baseline, found.candidate) == (_of(5, 5), _of(1, 5))
    assert found.boschloo_p == boschloo_p(1, 5, 5, 5)


def test_pass_at_k_is_the_share_of_hands_with_a_pass() -> None:
    # 5 trials, 2 passed: of the 10 pairs, 3 hold no pass
    assert pass_at_k(_of(2, 5), 2).value == pytest.approx(0.7)
    assert pass_at_k(_of(2, 5), 1).value == pytest.approx(0.4)
    assert pass_at_k(_of(2, 5), 4).value == 1


def test_the_interval_of_pass_at_k_maps_the_beta_quantiles() -> None:
    # Beta(4, 1): quantile p ** (1 / 4)
    once, twice = pass_at_k(_of(3, 3), 1), pass_at_k(_of(3, 3), 2)
    low = 0.025**0.25
    assert once.interval.low == pytest.approx(low)
    assert twice.interval.low == pytest.approx(1 - (1 - low) ** 2)
    assert twice.interval.high == pytest.approx(1 - (1 - 0.975**0.25) ** 2)


def test_impossible_counts_are_refused() -> None:
    with pytest.raises(ValueError, match="4 of 3"):
        _of(4, 3)
    with pytest.raises(ValueError, match="0 of 0"):
        _of(0, 0)
    with pytest.raises(ValueError, match="pass@4: needs 1 to 3 trials"):
        pass_at_k(_of(1, 3), 4)


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
def test_the_chance_of_any_drop_from_a_perfect_baseline_worked_by_hand(
    baseline: tuple[int, int], candidate: tuple[int, int], chance: float
) -> None:
    found = drop_probability(_of(*baseline), _of(*candidate), points=0.0)
    assert found == pytest.approx(chance, abs=1e-12)


def test_a_drop_of_any_size_is_not_one_of_ten_points() -> None:
    """5/5 to 3/5 fell by anything with 0.91, by more than 10 points with 0.81 only."""
    found = compare_passes(_of(5, 5), _of(3, 5))
    assert found.word is Word.INCONCLUSIVE
    assert found.drop_probability == pytest.approx(0.81, abs=0.005)
