"""The rule that turns an estimate and its interval into a word."""

import math
from dataclasses import dataclass

from llamatrix.stats.estimate import Estimate
from llamatrix.stats.word import Word

MIN_PAIRS = 3
"""Fewer say nothing: two pairs leave one degree of freedom, and two rounded values
that happen to agree would pass for certainty."""
_ROUNDING = 1e-9
"""A mean this close to the margin, in logs, has reached it: 98 of 100 is a loss of 2 %."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """When a change is claimed. The margin is the same step down and up, in logs.

    SLOWER: the interval lies below 1 and the ratio is at most 1 - margin.
    FASTER: its mirror, so that swapping the arms swaps the words: the interval above
    1 and the ratio at least 1 / (1 - margin). SAME: the interval lies between these
    two, an equivalence test (Schuirmann 1987) at half of alpha on each side.
    """

    margin: float
    alpha: float

    def __post_init__(self) -> None:
        if not 0 < self.margin < 1:
            raise ValueError(f"margin: not between 0 and 1: {self.margin!r}")
        if not 0 < self.alpha < 1:
            raise ValueError(f"alpha: not between 0 and 1: {self.alpha!r}")

    @property
    def log_margin(self) -> float:
        return -math.log1p(-self.margin)

    def word(self, estimate: Estimate) -> Word:
        """Pairs of the very same ratio show no noise, so they support no claim."""
        half = estimate.log_half_width(self.alpha)
        if half is None or estimate.pairs < MIN_PAIRS:
            return Word.INCONCLUSIVE
        mean = estimate.mean_log
        reached = self.log_margin - _ROUNDING
        if mean <= -reached and mean + half < 0:
            return Word.SLOWER
        if mean >= reached and mean - half > 0:
            return Word.FASTER
        if abs(mean) + half < self.log_margin:
            return Word.SAME
        return Word.INCONCLUSIVE
