"""Pass rates of few trials: intervals, the chance of a drop, and the word for it.

Trials that the harness itself lost (server crash, its own time-out, memory) are no
trials here: they are neither passed nor failed.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

from llamatrix.stats.distributions import beta_cdf, beta_quantile, boschloo_p
from llamatrix.stats.estimate import ALPHA, Interval
from llamatrix.stats.word import Word

DROP = 0.10
"""The fall of the pass rate that matters: 10 points."""
SURE = 0.9
"""Posterior probability above which it is claimed."""
HARD_BREAK_TRIALS = 4
"""A baseline that passed all of so many makes a candidate without a pass BROKEN."""


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


@dataclass(frozen=True, kw_only=True, slots=True)
class PassComparison:
    word: Word
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
    if is_hard_break(baseline, candidate):
        word = Word.BROKEN
    elif drop > SURE:
        word = Word.SLOWER
    elif rise > SURE:
        word = Word.FASTER
    else:
        word = Word.SAME if 1 - drop - rise > SURE else Word.INCONCLUSIVE
    return PassComparison(
        word=word,
        baseline=baseline,
        candidate=candidate,
        drop_probability=drop,
        rise_probability=rise,
    )


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


@dataclass(frozen=True, kw_only=True, slots=True)
class PassAtK:
    k: int
    value: float
    interval: Interval


def pass_at_k(passes: Passes, k: int, *, alpha: float = ALPHA) -> PassAtK:
    """Chance that one of k trials passes: unbiased, from at least k trials.

    Chen et al. (arXiv 2107.03374). The interval maps the quantiles of the flat-prior
    Beta posterior of one trial through 1 - (1 - p)^k.
    """
    if not 1 <= k <= passes.trials:
        raise ValueError(f"pass@{k}: needs 1 to {passes.trials} trials")
    failed = passes.trials - passes.passed
    low, high = (
        1 - (1 - beta_quantile(tail, *passes.posterior)) ** k
        for tail in (alpha / 2, 1 - alpha / 2)
    )
    return PassAtK(
        k=k,
        value=1 - math.comb(failed, k) / math.comb(passes.trials, k),
        interval=Interval(low=low, high=high),
    )
