"""Pass rates of few trials: intervals, the probability of a drop, power, turns.

Trials that the harness itself lost (server crash, its own time-out, memory) are no
trials here: they are neither passed nor failed.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

from llamatrix.stats.intervals import (
    ALPHA,
    Interval,
    beta_cdf,
    beta_quantile,
    boschloo_p,
)
from llamatrix.stats.verdict import Verdict

DROP = 0.10
"""The fall of the pass rate that matters: 10 points."""
SURE = 0.9
"""Posterior probability above which it is claimed."""
HARD_BREAK_TRIALS = 4
"""A baseline that passed all of at least this many makes a candidate without a pass BROKEN."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Passes:
    passed: int
    trials: int

    def __post_init__(self) -> None:
        if not 0 <= self.passed <= self.trials or self.trials == 0:
            raise ValueError(f"passes: not possible: {self.passed} of {self.trials}")

    @property
    def rate(self) -> float:
        return self.passed / self.trials

    @property
    def posterior(self) -> tuple[float, float]:
        """Parameters of the Beta posterior over a flat prior, Beta(1, 1)."""
        return self.passed + 1, self.trials - self.passed + 1

    @property
    def posterior_mean(self) -> float:
        a, b = self.posterior
        return a / (a + b)


@dataclass(frozen=True, kw_only=True, slots=True)
class PassComparison:
    verdict: Verdict
    """BROKEN by the hard-break rule. Of the closed list, SLOWER here reads "passes
    less often", FASTER "passes more often"."""
    baseline: Passes
    candidate: Passes
    drop_probability: float
    """That the candidate's rate is more than 10 points below the baseline's."""
    rise_probability: float

    @property
    def boschloo_p(self) -> float:
        """Two-sided, that the rates are equal; beside the gate, not part of it."""
        return boschloo_p(
            self.candidate.passed,
            self.candidate.trials,
            self.baseline.passed,
            self.baseline.trials,
        )


def compare_passes(baseline: Passes, candidate: Passes) -> PassComparison:
    """Same task, both arms. A broken agent does not wait for significance."""
    drop = drop_probability(baseline, candidate)
    rise = drop_probability(candidate, baseline)
    broken = is_hard_break(baseline, candidate)
    return PassComparison(
        verdict=Verdict.BROKEN if broken else likely_verdict(drop, rise),
        baseline=baseline,
        candidate=candidate,
        drop_probability=drop,
        rise_probability=rise,
    )


def likely_verdict(drop: float, rise: float) -> Verdict:
    """Return what the probabilities of a drop and of a rise allow to claim."""
    if drop > SURE:
        return Verdict.SLOWER
    if rise > SURE:
        return Verdict.FASTER
    return Verdict.SAME if 1 - drop - rise > SURE else Verdict.INCONCLUSIVE


def is_hard_break(baseline: Passes, candidate: Passes) -> bool:
    return (
        candidate.passed == 0
        and baseline.passed == baseline.trials
        and baseline.trials >= HARD_BREAK_TRIALS
    )


def wilson(passes: Passes, *, alpha: float = ALPHA) -> Interval:
    """Score interval of a rate (Wilson, J. Am. Stat. Assoc. 1927)."""
    z = NormalDist().inv_cdf(1 - alpha / 2)
    n, rate = passes.trials, passes.rate
    centre = rate + z**2 / (2 * n)
    half = z * math.sqrt(rate * (1 - rate) / n + z**2 / (4 * n**2))
    scale = 1 + z**2 / n
    return Interval(
        low=0.0 if passes.passed == 0 else (centre - half) / scale,
        high=1.0 if passes.passed == n else (centre + half) / scale,
    )


def drop_probability(
    baseline: Passes, candidate: Passes, *, points: float = DROP
) -> float:
    """Posterior probability that the candidate's rate is lower by more than `points`.

    Flat, independent priors. With whole counts the integrand is a polynomial, which
    Gauss-Legendre quadrature with enough nodes integrates exactly.
    """
    a, b = baseline.posterior
    log_scale = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    half = (1 - points) / 2
    total = 0.0
    for node, weight in _gauss_legendre((baseline.trials + candidate.trials) // 2 + 2):
        rate = points + half * (node + 1)
        density = math.exp(
            log_scale + (a - 1) * math.log(rate) + (b - 1) * math.log1p(-rate)
        )
        total += weight * half * density * beta_cdf(rate - points, *candidate.posterior)
    return min(max(total, 0.0), 1.0)


@lru_cache(maxsize=8)
def _gauss_legendre(count: int) -> tuple[tuple[float, float], ...]:
    """Nodes and weights on [-1, 1]."""
    from numpy.polynomial.legendre import leggauss

    nodes, weights = leggauss(count)
    return tuple(zip(nodes.tolist(), weights.tolist(), strict=True))


_POWER = 0.8
_RATES = tuple(step / 100 for step in range(1, 100))


@lru_cache(maxsize=64)
def most_called(trials: int, *, baseline: int | None = None) -> int | None:
    """The most passes that are called worse than the baseline's, by default a perfect one.

    Both arms have `trials` trials; None where not even 0 passes would be called.
    """
    before = trials if baseline is None else baseline
    for passed in range(before - 1, -1, -1):
        comparison = compare_passes(
            Passes(passed=before, trials=trials), Passes(passed=passed, trials=trials)
        )
        if comparison.verdict in {Verdict.SLOWER, Verdict.BROKEN}:
            return passed
    return None


def smallest_drop(trials: int) -> float | None:
    """The smallest true drop from a rate of 1 that 4 of 5 such runs would call.

    P(at most m passes) is a tail of the Beta distribution (Clopper & Pearson 1934).
    """
    most = most_called(trials)
    if most is None:
        return None
    return 1 - beta_quantile(1 - _POWER, most + 1, trials - most)


@lru_cache(maxsize=16)
def false_alarms(trials: int) -> float:
    """How often equal arms are called worse, at the true rate that is worst for it."""
    called = {
        before: most
        for before in range(trials + 1)
        if (most := most_called(trials, baseline=before)) is not None
    }
    return max(
        sum(
            _chance(before, trials, rate)
            * sum(_chance(after, trials, rate) for after in range(most + 1))
            for before, most in called.items()
        )
        for rate in _RATES
    )


@lru_cache(maxsize=1)
def trials_for_same() -> int:
    """The fewest trials of each arm from which two perfect arms are called the same."""
    trials = 1
    while True:
        perfect = Passes(passed=trials, trials=trials)
        if compare_passes(perfect, perfect).verdict is Verdict.SAME:
            return trials
        trials += 1


def _chance(passed: int, trials: int, rate: float) -> float:
    return math.comb(trials, passed) * rate**passed * (1 - rate) ** (trials - passed)


@dataclass(frozen=True, kw_only=True, slots=True)
class TurnPoint:
    turn: int
    correct: int
    """Trials that were correct on this turn or before."""
    share: float
    band: Interval
    """Wilson, 95 %, for this turn alone."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TurnCurve:
    """P(correct by turn t) for t = 1 to max_turns."""

    points: tuple[TurnPoint, ...]
    trials: int
    censored: int
    """Trials that were never correct within max_turns."""


def turn_curve(turns: Sequence[int | None], *, max_turns: int) -> TurnCurve:
    """From the turn on which each trial was correct; None: censored at max_turns.

    All trials had the same number of turns, so a share is a plain proportion.
    """
    _check(turns, max_turns)
    if not turns:
        raise ValueError("turns: no trials")
    points = []
    for turn in range(1, max_turns + 1):
        correct = sum(needed is not None and needed <= turn for needed in turns)
        passes = Passes(passed=correct, trials=len(turns))
        points.append(
            TurnPoint(
                turn=turn, correct=correct, share=passes.rate, band=wilson(passes)
            )
        )
    return TurnCurve(
        points=tuple(points),
        trials=len(turns),
        censored=sum(turn is None for turn in turns),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class TurnComparison:
    difference: float
    """Mean turn of the candidate minus the baseline's, censored ones as max + 1."""
    p_value: float
    """Two-sided, that the labels of the arms mean nothing."""


def compare_turns(
    baseline: Sequence[int | None],
    candidate: Sequence[int | None],
    *,
    max_turns: int,
) -> TurnComparison:
    """Permutation test of the mean turn, exact: every relabelling is counted.

    Turns are small whole numbers, so the sums of all subsets can be counted without
    listing them (Pagano & Tritchler, J. Am. Stat. Assoc. 1983).
    """
    _check([*baseline, *candidate], max_turns)
    if not baseline or not candidate:
        raise ValueError("turns: an arm without trials")
    scores = [turn or max_turns + 1 for turn in (*baseline, *candidate)]
    size, everything = len(candidate), sum(scores)
    own = sum(scores[len(baseline) :])

    def distance(total: int) -> int:
        """Return how far a group's sum is from its expectation, in whole numbers."""
        return abs(total * len(scores) - everything * size)

    extreme = sum(
        count
        for total, count in _subset_sums(scores, size).items()
        if distance(total) >= distance(own)
    )
    return TurnComparison(
        difference=own / size - (everything - own) / len(baseline),
        p_value=extreme / math.comb(len(scores), size),
    )


def _subset_sums(scores: Sequence[int], size: int) -> Counter[int]:
    """How many subsets of `size` scores have which sum."""
    by_size = [Counter({0: 1}), *(Counter[int]() for _ in range(size))]
    for score in scores:
        for taken in range(size, 0, -1):
            for total, count in by_size[taken - 1].items():
                by_size[taken][total + score] += count
    return by_size[size]


def _check(turns: Sequence[int | None], max_turns: int) -> None:
    for turn in turns:
        if turn is not None and not 1 <= turn <= max_turns:
            raise ValueError(f"turns: {turn} is not within 1 to {max_turns}")
