"""Many cells, one answer: Holm across them, and a geometric mean for the headline."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from llamatrix.stats.distributions import t_quantile
from llamatrix.stats.estimate import (
    ALPHA,
    Estimate,
    Interval,
    estimate,
    ratio_interval,
    ratio_of,
)
from llamatrix.stats.judge import Comparison
from llamatrix.stats.metric import Unit
from llamatrix.stats.pairs import Pair, log_ratios
from llamatrix.stats.word import Word, gravest


@dataclass(frozen=True, kw_only=True, slots=True)
class JudgedCell:
    id: str
    word: Word
    """After Holm: a change that does not survive it is INCONCLUSIVE."""
    adjusted_p: float | None
    """Over all looks and all cells; None where nothing could be tested."""
    comparison: Comparison
    """As judged alone."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Headline:
    """Geometric mean of the ratios of all sessions, each counted alike."""

    ratio: float
    interval: Interval | None
    """None where a session has a single pair, or no spread between its pairs."""
    sessions: int
    """Groups of processes that were run apart: their errors are independent."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Overall:
    word: Word
    """The gravest of the cells' words."""
    cells: tuple[JudgedCell, ...]


def judge_cells(
    comparisons: Mapping[str, Comparison], *, alpha: float = ALPHA
) -> Overall:
    """Judge cells together, in the order given.

    Holm's step-down (Scand. J. Statist. 1979) keeps the chance of any false SLOWER or
    FASTER at alpha, however the cells depend on each other. A p value at one of K
    planned looks counts K times before. Cells that could not be tested (BROKEN, too
    few pairs) still count as cells.
    """
    raw = [_p_over_looks(one, alpha) for one in comparisons.values()]
    adjusted = holm([1.0 if p is None else p for p in raw])
    cells = tuple(
        JudgedCell(
            id=name,
            word=_after_holm(comparison.word, corrected, alpha),
            adjusted_p=None if p is None else corrected,
            comparison=comparison,
        )
        for (name, comparison), p, corrected in zip(
            comparisons.items(), raw, adjusted, strict=True
        )
    )
    return Overall(word=gravest(cell.word for cell in cells), cells=cells)


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Adjusted p values in the order given; compare each with the whole alpha."""
    adjusted = [0.0] * len(p_values)
    running = 0.0
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    for rank, index in enumerate(order):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = running
    return tuple(adjusted)


def session_estimate(metrics: Sequence[tuple[Unit, Sequence[Pair]]]) -> Estimate | None:
    """Return the mean log-ratio of all metrics of the same processes.

    The metrics of one process rise and fall together, so they are averaged within each
    pair, and the spread between pairs is what the estimate rests on. Only pairs that
    are complete for every metric count; None where there are none.
    """
    ratios = [
        {pair.number: log_ratios([pair], unit)[0] for pair in pairs if pair.complete}
        for unit, pairs in metrics
    ]
    numbers = [pair for pair in ratios[0] if all(pair in one for one in ratios)]
    if not numbers:
        return None
    means = [math.fsum(one[pair] for one in ratios) / len(ratios) for pair in numbers]
    return estimate(means)


def headline(sessions: Sequence[Estimate], *, alpha: float) -> Headline:
    """Return the mean of at least one session; sessions are run apart from each other.

    `alpha` is that of one look: an interval at 1 - alpha then covers as often as the
    intervals of cells do. Degrees of freedom after Satterthwaite (Biometrics Bulletin
    1946).
    """
    count = len(sessions)
    mean = math.fsum(one.mean_log for one in sessions) / count
    interval = None
    if all(one.standard_error for one in sessions):
        interval = ratio_interval(mean, _half_width(sessions, alpha))
    return Headline(ratio=ratio_of(mean), interval=interval, sessions=count)


def _half_width(sessions: Sequence[Estimate], alpha: float) -> float:
    errors = [one.standard_error or 0.0 for one in sessions]
    variance = math.fsum(error**2 for error in errors)
    degrees = variance**2 / math.fsum(
        error**4 / (one.pairs - 1) for error, one in zip(errors, sessions, strict=True)
    )
    return t_quantile(1 - alpha / 2, degrees) * math.sqrt(variance) / len(errors)


def _p_over_looks(comparison: Comparison, alpha: float) -> float | None:
    if comparison.estimate is None or comparison.estimate.p_value is None:
        return None
    return min(1.0, comparison.estimate.p_value * alpha / comparison.rule.alpha)


def _after_holm(word: Word, adjusted_p: float, alpha: float) -> Word:
    claims_change = word in {Word.SLOWER, Word.FASTER}
    return Word.INCONCLUSIVE if claims_change and adjusted_p > alpha else word
