"""The ratio of two arms from paired log-ratios: Student's t, exact for normal logs."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from llamatrix.stats.distributions import t_quantile, t_two_sided_p

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
