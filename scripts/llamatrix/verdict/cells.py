"""Many cells, one answer: Holm across them, and a geometric mean for the headline."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from llamatrix.verdict.distributions import t_quantile
from llamatrix.verdict.estimate import (
    ALPHA,
    Estimate,
    Interval,
    ratio_interval,
    ratio_of,
)
from llamatrix.verdict.judge import Comparison
from llamatrix.verdict.word import Word, gravest


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
    """Geometric mean of the cells' ratios, each cell counted alike."""

    ratio: float
    interval_95: Interval | None
    cells: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Overall:
    word: Word
    """The gravest of the cells' words."""
    cells: tuple[JudgedCell, ...]
    headline: Headline | None
    """None where no cell has a ratio."""


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
    estimates = [one.estimate for one in comparisons.values() if one.estimate]
    return Overall(
        word=gravest(cell.word for cell in cells),
        cells=cells,
        headline=headline(estimates) if estimates else None,
    )


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Adjusted p values in the order given; compare each with the whole alpha."""
    adjusted = [0.0] * len(p_values)
    running = 0.0
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    for rank, index in enumerate(order):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = running
    return tuple(adjusted)


def headline(estimates: Sequence[Estimate]) -> Headline:
    """From at least one estimate. Cells are run apart, so their errors add up.

    Degrees of freedom after Satterthwaite (Biometrics Bulletin 1946). No interval
    where a cell has a single pair.
    """
    count = len(estimates)
    mean = math.fsum(one.mean_log for one in estimates) / count
    interval = None
    errors = [one.standard_error for one in estimates]
    known = [error for error in errors if error is not None]
    if len(known) == count:
        half = _half_width(known, [one.pairs for one in estimates])
        interval = ratio_interval(mean, half)
    return Headline(ratio=ratio_of(mean), interval_95=interval, cells=count)


def _half_width(errors: Sequence[float], pairs: Sequence[int]) -> float:
    variance = math.fsum(error**2 for error in errors)
    if variance == 0:
        return 0.0
    degrees = variance**2 / math.fsum(
        error**4 / (n - 1) for error, n in zip(errors, pairs, strict=True)
    )
    return t_quantile(1 - ALPHA / 2, degrees) * math.sqrt(variance) / len(errors)


def _p_over_looks(comparison: Comparison, alpha: float) -> float | None:
    if comparison.estimate is None or comparison.estimate.p_value is None:
        return None
    return min(1.0, comparison.estimate.p_value * alpha / comparison.rule.alpha)


def _after_holm(word: Word, adjusted_p: float, alpha: float) -> Word:
    claims_change = word in {Word.SLOWER, Word.FASTER}
    return Word.INCONCLUSIVE if claims_change and adjusted_p > alpha else word
