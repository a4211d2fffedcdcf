"""Paired samples to a verdict: one comparison, interim looks, many cells together."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from llamatrix.errors import ReportError
from llamatrix.stats.intervals import (
    ALPHA,
    Estimate,
    Interval,
    estimate,
    ratio_interval,
    ratio_of,
    t_quantile,
)
from llamatrix.stats.pairs import (
    LeftOut,
    Pair,
    Samples,
    SortedPairs,
    clock_log_ratios,
    log_ratios,
    sort_pairs,
)
from llamatrix.stats.power import smallest_effect, upper_sd
from llamatrix.stats.verdict import MIN_PAIRS, Rule, Unit, Verdict, most_severe

ENOUGH_FAILURES = 2
"""Pairs that fail before a case without any complete pair is given up."""
_WORTH_TELLING = 0.0005
"""Rounding that widens an interval by less than 0.05 % goes without a note."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PairedComparison:
    """What may be said of one metric of one cell."""

    verdict: Verdict
    unit: Unit
    rule: Rule
    """The margin, and the alpha of this look: 0.05 divided by the planned looks."""
    estimate: Estimate | None
    """None where not one pair is complete."""
    per_cycle: Estimate | None
    """The same per clock cycle; None unless every pair has both clocks."""
    used: tuple[int, ...]
    """Numbers of the pairs behind the estimate."""
    left_out: tuple[LeftOut, ...]
    notes: tuple[str, ...]

    @property
    def interval(self) -> Interval | None:
        """Return the interval that decided, at confidence `level`.

        Those of all K planned looks, at 1 - 0.05 / K each, hold together in at least
        95 % of runs, so this one covers as often whatever made the pairs end.
        """
        return self.estimate.interval(self.rule.alpha) if self.estimate else None

    @property
    def level(self) -> float:
        """The confidence of `interval` taken alone: 0.983 at one of three looks."""
        return 1 - self.rule.alpha

    def smallest_effect(self, *, cells: int = 1) -> float | None:
        """Return the smallest loss that 80 % of such runs would call SLOWER.

        As the first of `cells` cells that Holm tries; None where it is not known.
        """
        return self._smallest(margin=self.rule.margin, cells=cells)

    def smallest_detectable(self, *, cells: int = 1) -> float | None:
        """Return the smallest loss that 80 % of such runs would distinguish from zero.

        Their interval lies below 1; whether the loss matters is the margin's business.
        """
        return self._smallest(margin=0.0, cells=cells)

    def _smallest(self, *, margin: float, cells: int) -> float | None:
        estimate = self.estimate
        if estimate is None or not estimate.sd_log:
            return None
        return smallest_effect(
            sd_log=upper_sd(estimate.sd_log, values=estimate.pairs),
            pairs=estimate.pairs,
            margin=margin,
            alpha=self.rule.alpha / cells,
            rounding_log=estimate.rounding_log,
        )

    def with_notes(self, *notes: str) -> "PairedComparison":
        return replace(self, notes=(*self.notes, *notes))


def broken_comparison(
    note: str, *, unit: Unit, margin: float, alpha: float
) -> PairedComparison:
    """Return the comparison of a candidate that could not even be started."""
    nothing = judge((), unit=unit, margin=margin, alpha=alpha)
    return replace(nothing, verdict=Verdict.BROKEN, notes=(note,))


def judge(
    pairs: Sequence[Pair],
    *,
    unit: Unit,
    margin: float | None = None,
    alpha: float = ALPHA,
    rounding_log: float = 0.0,
) -> PairedComparison:
    """Judge all the pairs, once. The margin defaults to the unit's own."""
    rule = Rule(margin=unit.margin if margin is None else margin, alpha=alpha)
    sorted_pairs = sort_pairs(pairs)
    ratios = log_ratios(sorted_pairs.complete, unit)
    overall = estimate(ratios, rounding_log=rounding_log) if ratios else None
    cycles = clock_log_ratios(sorted_pairs.complete, unit)
    per_cycle = estimate(cycles, rounding_log=rounding_log) if cycles else None
    verdict, notes = _verdict(sorted_pairs, overall, rule)
    if verdict in {Verdict.SLOWER, Verdict.FASTER} and per_cycle:
        notes = (*notes, _clock_note(verdict, rule.verdict(per_cycle)))
    return PairedComparison(
        verdict=verdict,
        unit=unit,
        rule=rule,
        estimate=overall,
        per_cycle=per_cycle,
        used=tuple(pair.number for pair in sorted_pairs.complete),
        left_out=sorted_pairs.left_out,
        notes=notes,
    )


def _verdict(
    sorted_pairs: SortedPairs, overall: Estimate | None, rule: Rule
) -> tuple[Verdict, tuple[str, ...]]:
    if sorted_pairs.candidate_broken:
        count = len(sorted_pairs.candidate_failed)
        note = f"the baseline gave a value in {count} of {count} pairs, the candidate in none"
        return Verdict.BROKEN, (note,)
    if overall is None:
        return Verdict.INCONCLUSIVE, ("no undisturbed pair has a value of both arms",)
    if overall.pairs < MIN_PAIRS:
        note = (
            f"complete, undisturbed pairs: {overall.pairs}; a claim needs {MIN_PAIRS}"
        )
        return Verdict.INCONCLUSIVE, (note,)
    verdict = rule.verdict(overall)
    notes: list[str] = []
    if sorted_pairs.candidate_failed and verdict in {Verdict.SAME, Verdict.FASTER}:
        # What is missing may be what is bad: survivors cannot speak for it.
        verdict = Verdict.INCONCLUSIVE
        numbers = ", ".join(map(str, sorted_pairs.candidate_failed))
        notes.append(
            f"the candidate gave no value in pair {numbers} where the baseline did; "
            "find out why before trusting the rest"
        )
    if overall.sd_log == 0:
        notes.append(
            "all pairs have the very same ratio: the values are rounded or copied, so "
            "they do not show the noise that a claim has to exceed"
        )
    elif overall.rounding_log > _WORTH_TELLING:
        notes.append(
            f"the values are written in steps that can hide {overall.rounding_log:.1%} "
            "of the ratio; the interval is widened by it: write more digits"
        )
    return verdict, tuple(notes)


def _clock_note(verdict: Verdict, per_cycle: Verdict) -> str:
    """Whether a change is still there per clock cycle; never a verdict of its own."""
    if per_cycle is verdict:
        return "per clock cycle the change is still there: code, not clock"
    if per_cycle is Verdict.SAME:
        return "clock, not code: per clock cycle the change vanishes"
    if per_cycle is Verdict.INCONCLUSIVE:
        return "the clocks differ, and per clock cycle nothing can be claimed"
    return "the clocks differ: per clock cycle the change points the other way"


@dataclass(frozen=True, kw_only=True, slots=True)
class SequentialTest:
    """The looks that were planned before the first pair was run.

    Alpha is split evenly over them (Bonferroni), and every look uses its share both
    for a change and for SAME. The intervals at the looks, each at 1 - alpha / looks,
    then hold all at once with at least 1 - alpha, so stopping at any of them is fair:
    repeated confidence intervals (Jennison & Turnbull, J. R. Statist. Soc. B 1989).
    Simulated for 5, 8, 12 pairs without a change (400000 runs): any look below its
    share in 4.0 % of runs, in 10.9 % without a split. A constant after Pocock
    (Biometrika 1977) would allow nominal 0.0215 instead of 0.0167 a look, but holds
    at one alpha only; the even split stays true at every alpha, so also under Holm's.
    """

    looks: tuple[int, ...] = (5, 8, 12)
    """After how many complete, undisturbed pairs to look."""
    alpha: float = ALPHA

    def __post_init__(self) -> None:
        rising = all(a < b for a, b in pairwise(self.looks))
        if not self.looks or self.looks[0] < MIN_PAIRS or not rising:
            raise ValueError(
                f"looks: must rise from at least {MIN_PAIRS} pairs: {self.looks}"
            )

    @property
    def alpha_per_look(self) -> float:
        return self.alpha / len(self.looks)

    def next_after(self, complete: int) -> int | None:
        """How many complete pairs the next look needs; None after the last."""
        return next((count for count in self.looks if count > complete), None)


PLANNED = SequentialTest()


def parse_looks(text: str) -> SequentialTest:
    """Read `5,8,12`: the planned looks as a user writes them."""
    try:
        return SequentialTest(looks=tuple(int(count) for count in text.split(",")))
    except ValueError as error:
        raise ReportError(
            f"looks: {text!r}: write rising numbers of pairs from {MIN_PAIRS} on, "
            "for example 5,8,12"
        ) from error


@dataclass(frozen=True, kw_only=True, slots=True)
class JudgedCell:
    id: str
    verdict: Verdict
    """After Holm: a change that does not survive it is INCONCLUSIVE."""
    adjusted_p: float | None
    """Over all looks and all cells; None where nothing could be tested."""
    comparison: PairedComparison
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
class Judgement:
    """Of all cells together."""

    verdict: Verdict
    """The most severe of the cells' verdicts."""
    cells: tuple[JudgedCell, ...]
    next_pairs: Mapping[str, int | None] = field(default_factory=dict)
    """By case: complete pairs that its next look needs; None where it is settled."""


def judge_cases(
    samples: Mapping[str, Samples],
    *,
    margins: Mapping[str, float] | None = None,
    sequential: SequentialTest = PLANNED,
) -> Judgement:
    """Judge every case at the looks that its pairs reach, with Holm across the cases.

    Pairs are taken in the order of running. A case is settled by the first look at which
    its verdict stands after Holm; what came later does not count, and until then a change
    that only Holm refuses gets more pairs. That is fair: an interval or p value at one of
    K looks, taken at alpha / K, holds at whichever look one stops (`SequentialTest`). A
    case that Holm has let pass keeps its verdict whatever the others do later: Holm over
    each case's least p value of all looks, which is valid, would let it pass as well. A
    margin that is not given is the unit's own.
    """

    def judged(case: str, pairs: Sequence[Pair]) -> PairedComparison:
        return judge(
            pairs,
            unit=samples[case].unit,
            margin=margins[case] if margins else None,
            alpha=sequential.alpha_per_look,
            rounding_log=samples[case].rounding_log,
        )

    comparisons = {}
    for case, case_pairs in samples.items():
        comparisons[case] = judged(case, case_pairs.pairs)
        if comparisons[case].verdict is not Verdict.BROKEN:
            comparisons[case] = replace(
                comparisons[case], verdict=Verdict.INCONCLUSIVE
            ).with_notes("the first planned look is still to come")
    settled: dict[str, JudgedCell] = {}
    judgement = judge_cells(comparisons, alpha=sequential.alpha)
    for count in sequential.looks:
        for case, case_pairs in samples.items():
            ends = [
                end for end, pair in enumerate(case_pairs.pairs, 1) if pair.complete
            ]
            if case not in settled and len(ends) >= count:
                comparisons[case] = judged(case, case_pairs.pairs[: ends[count - 1]])
        judgement = judge_cells(comparisons, alpha=sequential.alpha)
        for cell in judgement.cells:
            if cell.verdict.decided:
                early = _with_early_note(cell.comparison, sequential)
                settled.setdefault(cell.id, replace(cell, comparison=early))
    cells = tuple(settled.get(cell.id, cell) for cell in judgement.cells)
    return Judgement(
        verdict=most_severe(cell.verdict for cell in cells),
        cells=cells,
        next_pairs={
            case: _next_pairs(case_pairs.pairs, sequential)
            if case not in settled or comparisons[case].verdict is Verdict.BROKEN
            else None
            for case, case_pairs in samples.items()
        },
    )


def _next_pairs(pairs: Sequence[Pair], sequential: SequentialTest) -> int | None:
    """Complete pairs that the next look needs; None where more would not help."""
    complete = sum(pair.complete for pair in pairs)
    failed = sum(not (pair.complete or pair.disturbed) for pair in pairs)
    if not complete and failed >= ENOUGH_FAILURES:
        return None
    return sequential.next_after(complete)


def _with_early_note(
    comparison: PairedComparison, sequential: SequentialTest
) -> PairedComparison:
    """Return the comparison with what must be known of a change claimed early."""
    claims_change = comparison.verdict in {Verdict.SLOWER, Verdict.FASTER}
    if not claims_change or len(comparison.used) >= sequential.looks[-1]:
        return comparison
    return comparison.with_notes(
        f"claimed after {len(comparison.used)} of up to {sequential.looks[-1]} pairs: a ratio "
        "that ends a comparison early tends to overstate the change"
    )


def judge_cells(
    comparisons: Mapping[str, PairedComparison], *, alpha: float = ALPHA
) -> Judgement:
    """Judge cells together, in the order given.

    Holm's step-down (Scand. J. Statist. 1979) keeps the chance of any false SLOWER or
    FASTER at alpha, however the cells depend on each other. A p value at one of K
    planned looks counts K times before. Cells that could not be tested (BROKEN, too
    few pairs) still count as cells.
    """
    raw = [_p_over_looks(comparison, alpha) for comparison in comparisons.values()]
    adjusted = holm([1.0 if p is None else p for p in raw])
    cells = tuple(
        JudgedCell(
            id=name,
            verdict=_after_holm(comparison.verdict, corrected, alpha),
            adjusted_p=None if p is None else corrected,
            comparison=comparison,
        )
        for (name, comparison), p, corrected in zip(
            comparisons.items(), raw, adjusted, strict=True
        )
    )
    return Judgement(verdict=most_severe(cell.verdict for cell in cells), cells=cells)


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
    numbers = [pair for pair in ratios[0] if all(pair in ratio for ratio in ratios)]
    if not numbers:
        return None
    means = [
        math.fsum(ratio[pair] for ratio in ratios) / len(ratios) for pair in numbers
    ]
    return estimate(means)


def headline(sessions: Sequence[Estimate], *, alpha: float) -> Headline:
    """Return the mean of at least one session; sessions are run apart from each other.

    `alpha` is that of one look: an interval at 1 - alpha then covers as often as the
    intervals of cells do. Degrees of freedom after Satterthwaite (Biometrics Bulletin
    1946).
    """
    count = len(sessions)
    mean = math.fsum(session.mean_log for session in sessions) / count
    interval = None
    if all(session.standard_error for session in sessions):
        interval = ratio_interval(mean, _half_width(sessions, alpha))
    return Headline(ratio=ratio_of(mean), interval=interval, sessions=count)


def _half_width(sessions: Sequence[Estimate], alpha: float) -> float:
    errors = [session.standard_error or 0.0 for session in sessions]
    variance = math.fsum(error**2 for error in errors)
    degrees = variance**2 / math.fsum(
        error**4 / (session.pairs - 1)
        for error, session in zip(errors, sessions, strict=True)
    )
    return t_quantile(1 - alpha / 2, degrees) * math.sqrt(variance) / len(errors)


def _p_over_looks(comparison: PairedComparison, alpha: float) -> float | None:
    if comparison.estimate is None or comparison.estimate.p_value is None:
        return None
    return min(1.0, comparison.estimate.p_value * alpha / comparison.rule.alpha)


def _after_holm(verdict: Verdict, adjusted_p: float, alpha: float) -> Verdict:
    claims_change = verdict in {Verdict.SLOWER, Verdict.FASTER}
    return Verdict.INCONCLUSIVE if claims_change and adjusted_p > alpha else verdict
