"""Quantiles and tests from scipy, and the ratio of two arms from paired log-ratios.

scipy is imported inside the functions: `invoke --list` must not wait for it, and only
Boschloo's test needs the heavy `scipy.stats`. The ratio is estimated with Student's t,
which is exact for normal logs.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

_TAIL = 0.025


@lru_cache(maxsize=256)
def t_quantile(probability: float, degrees: float) -> float:
    """Student's t; degrees of freedom need not be whole (Satterthwaite)."""
    from scipy import special

    return float(special.stdtrit(degrees, probability))


def t_two_sided_p(statistic: float, degrees: float) -> float:
    from scipy import special

    return float(2 * special.stdtr(degrees, -abs(statistic)))


@lru_cache(maxsize=1024)
def chi_square_quantile(probability: float, degrees: int) -> float:
    from scipy import special

    return float(2 * special.gammaincinv(degrees / 2, probability))


@lru_cache(maxsize=64)
def chi_square_quantiles(degrees: int, count: int) -> tuple[float, ...]:
    """`count` equally likely values: the quantiles at the middles of as many bins."""
    return tuple(
        chi_square_quantile((bin_ + 0.5) / count, degrees) for bin_ in range(count)
    )


@lru_cache(maxsize=64)
def median_ranks(count: int) -> tuple[int, int] | None:
    """Places, from 0, of the sorted values between which the median lies at 95 %.

    By the sign test: nothing is assumed of the values. None for fewer than six.
    """
    from scipy import special

    least = -1
    while special.bdtr(least + 1, count, 0.5) <= _TAIL:
        least += 1
    return (least, count - 1 - least) if least >= 0 else None


def beta_quantile(probability: float, a: float, b: float) -> float:
    from scipy import special

    return float(special.betaincinv(a, b, probability))


def beta_cdf(value: float, a: float, b: float) -> float:
    from scipy import special

    return float(special.betainc(a, b, min(max(value, 0.0), 1.0)))


@lru_cache(maxsize=256)
def boschloo_p(
    passed: int, trials: int, reference_passed: int, reference_trials: int
) -> float:
    """Two-sided p that `passed` of `trials` has the rate of the reference.

    Boschloo (Statistica Neerlandica 1970): Fisher's p as the statistic of an
    unconditional test, uniformly sharper than Fisher's own.
    """
    from scipy import stats

    table = [
        [passed, reference_passed],
        [trials - passed, reference_trials - reference_passed],
    ]
    return float(stats.boschloo_exact(table, alternative="two-sided").pvalue)


@lru_cache(maxsize=64)
def noncentrality(bound: float, degrees: float, power: float) -> float:
    """The shift that makes a noncentral t variable exceed `bound` with this power."""
    from scipy import special

    return float(special.nctdtrinc(degrees, 1 - power, bound))


ALPHA = 0.05
"""Two-sided error of a verdict, over all of its planned looks."""
_ROUNDING = 1e-12
"""A spread of logs below this is the rounding of floats, not of the machine."""
_LARGEST_LOG = 700.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """Of a ratio or of a rate, ends included."""

    low: float
    high: float

    @property
    def half_width(self) -> float:
        return (self.high - self.low) / 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    pairs: int
    mean_log: float
    """Mean paired log-ratio of speed; below 0 the candidate is slower."""
    sd_log: float | None
    """Standard deviation of the paired log-ratios; None for a single pair."""
    rounding_log: float = 0.0
    """How far the rounding of the written values can have moved `mean_log`."""

    @property
    def ratio(self) -> float:
        """The candidate's speed over the baseline's: a geometric mean over pairs."""
        return ratio_of(self.mean_log)

    @property
    def standard_error(self) -> float | None:
        """Of the mean log-ratio."""
        return None if self.sd_log is None else self.sd_log / math.sqrt(self.pairs)

    def log_half_width(self, alpha: float = ALPHA) -> float | None:
        """Of the interval at 1 - alpha; None where the pairs show no spread."""
        if not self.standard_error:
            return None
        quantile = t_quantile(1 - alpha / 2, self.pairs - 1)
        return quantile * self.standard_error + self.rounding_log

    def interval(self, alpha: float = ALPHA) -> Interval | None:
        """Of the ratio, at confidence 1 - alpha; None where the pairs show no spread."""
        half = self.log_half_width(alpha)
        if half is None:
            return None
        return ratio_interval(self.mean_log, half)

    @property
    def p_value(self) -> float | None:
        """Two-sided, that the true ratio is 1; None where the pairs show no spread."""
        if not self.standard_error:
            return None
        least = max(0.0, abs(self.mean_log) - self.rounding_log)
        return t_two_sided_p(least / self.standard_error, self.pairs - 1)


def ratio_of(log_ratio: float) -> float:
    """Never overflows: beyond e^700 the figure means nothing anyway."""
    return math.exp(max(-_LARGEST_LOG, min(_LARGEST_LOG, log_ratio)))


def ratio_interval(mean_log: float, half: float) -> Interval:
    return Interval(low=ratio_of(mean_log - half), high=ratio_of(mean_log + half))


def estimate(ratios: Sequence[float], *, rounding_log: float = 0.0) -> Estimate:
    """Estimate from paired log-ratios, at least one."""
    sd = statistics.stdev(ratios) if len(ratios) > 1 else None
    return Estimate(
        pairs=len(ratios),
        mean_log=statistics.fmean(ratios),
        sd_log=0.0 if sd is not None and sd < _ROUNDING else sd,
        rounding_log=rounding_log,
    )
