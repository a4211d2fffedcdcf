"""The five verdicts with their exit codes, what is compared, and the rule for one look."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from llamatrix.stats.intervals import Estimate


class Verdict(StrEnum):
    SLOWER = "SLOWER"
    SAME = "SAME"
    FASTER = "FASTER"
    BROKEN = "BROKEN"
    INCONCLUSIVE = "INCONCLUSIVE"

    @property
    def exit_code(self) -> int:
        """0 where nothing got worse, else 10, 11 or 12."""
        return _EXIT_CODES.get(self, 0)

    @property
    def decided(self) -> bool:
        """No more pairs are needed."""
        return self is not Verdict.INCONCLUSIVE


_EXIT_CODES = {Verdict.SLOWER: 10, Verdict.BROKEN: 11, Verdict.INCONCLUSIVE: 12}
_MOST_SEVERE_FIRST = (
    Verdict.BROKEN,
    Verdict.SLOWER,
    Verdict.INCONCLUSIVE,
    Verdict.FASTER,
    Verdict.SAME,
)


def most_severe(verdicts: Iterable[Verdict]) -> Verdict:
    """Return the one verdict for many cells; INCONCLUSIVE where there are none.

    All cells SAME gives SAME without a correction for their number: every cell must
    pass its own test for it (Berger, Technometrics 1982: intersection-union).
    """
    present = set(verdicts)
    ordered = (verdict for verdict in _MOST_SEVERE_FIRST if verdict in present)
    return next(ordered, Verdict.INCONCLUSIVE)


class Unit(StrEnum):
    """The units a sample may have; more tokens per second or less time is better."""

    TOKENS_PER_S = "tok/s"
    SECONDS = "s"
    MILLISECONDS = "ms"

    @property
    def higher_is_better(self) -> bool:
        return self is Unit.TOKENS_PER_S

    @property
    def margin(self) -> float:
        """The margin where only the unit is known: a time is taken for a TTFT."""
        metric = Metric.GENERATION if self.higher_is_better else Metric.FIRST_TOKEN
        return metric.margin


class Metric(StrEnum):
    GENERATION = "tg"
    PROMPT = "pp"
    FIRST_TOKEN = "ttft"  # noqa: S105  (time to first token, not a secret)
    """By the server's own count: the processing of the prompt."""

    @property
    def unit(self) -> Unit:
        return Unit.SECONDS if self is Metric.FIRST_TOKEN else Unit.TOKENS_PER_S

    @property
    def margin(self) -> float:
        """The loss of speed that matters, as a fraction: delta of the rule."""
        return _MARGINS[self]


_MARGINS = {Metric.GENERATION: 0.02, Metric.PROMPT: 0.02, Metric.FIRST_TOKEN: 0.05}


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

    def verdict(self, estimate: Estimate) -> Verdict:
        """Pairs of the very same ratio show no noise, so they support no claim."""
        half = estimate.log_half_width(self.alpha)
        if half is None or estimate.pairs < MIN_PAIRS:
            return Verdict.INCONCLUSIVE
        mean = estimate.mean_log
        reached = self.log_margin - _ROUNDING
        if mean <= -reached and mean + half < 0:
            return Verdict.SLOWER
        if mean >= reached and mean - half > 0:
            return Verdict.FASTER
        if abs(mean) + half < self.log_margin:
            return Verdict.SAME
        return Verdict.INCONCLUSIVE
