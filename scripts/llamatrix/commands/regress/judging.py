"""All cases together at the planned looks, replayed from their pairs alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from llamatrix.stats.cells import Overall, judge_cells
from llamatrix.stats.judge import Comparison, judge
from llamatrix.stats.looks import Looks, judge_at_looks, with_early_note
from llamatrix.stats.metric import Unit
from llamatrix.stats.pairs import Pair, sort_pairs
from llamatrix.stats.rule import MIN_PAIRS
from llamatrix.stats.word import Word

ENOUGH_FAILURES = 2
"""Pairs that fail before a case without any complete pair is given up."""
_UNIT = Unit.TOKENS_PER_S


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    overall: Overall
    next_pairs: Mapping[str, int | None]
    """By case: complete pairs that its next look needs; None where it is settled."""


def judge_together(
    pairs: Mapping[str, Sequence[Pair]],
    *,
    margins: Mapping[str, float],
    looks: Looks,
    units: Mapping[str, Unit] | None = None,
) -> Judged:
    """Judge every case at the looks that its pairs reach, with Holm across them.

    A case is settled by the first look at which its word stands after Holm; until
    then a change that only Holm refuses gets more pairs. That is fair: an interval or
    p value at one of K looks, taken at alpha / K, holds at whichever look one stops
    (`Looks`), and a case that Holm has let pass stays so whatever the others do
    later, since its own p value no longer moves. Units are tokens per second unless
    told.
    """
    units = units or dict.fromkeys(pairs, _UNIT)
    comparisons = {
        case: _before_first(found, units[case], margins[case], looks)
        for case, found in pairs.items()
    }
    settled: set[str] = set()
    overall = judge_cells(comparisons, alpha=looks.alpha)
    for count in looks.pairs:
        for case, found in pairs.items():
            seen = _first_complete(found, count)
            if seen is not None and case not in settled:
                comparisons[case] = judge(
                    seen,
                    unit=units[case],
                    margin=margins[case],
                    alpha=looks.alpha_per_look,
                )
        overall = judge_cells(comparisons, alpha=looks.alpha)
        settled |= {cell.id for cell in overall.cells if cell.word.decided}
    return Judged(
        overall=replace(
            overall,
            cells=tuple(
                replace(cell, comparison=with_early_note(cell.comparison, looks))
                if cell.word.decided
                else cell
                for cell in overall.cells
            ),
        ),
        next_pairs={
            case: _next(found, looks)
            if case not in settled or comparisons[case].word is Word.BROKEN
            else None
            for case, found in pairs.items()
        },
    )


def broken(note: str, *, margin: float, looks: Looks, unit: Unit = _UNIT) -> Comparison:
    """The comparison of a candidate that could not even be started."""
    nothing = judge((), unit=unit, margin=margin, alpha=looks.alpha_per_look)
    return Comparison(
        word=Word.BROKEN,
        unit=nothing.unit,
        rule=nothing.rule,
        estimate=None,
        per_cycle=None,
        used=(),
        left_out=(),
        notes=(note,),
    )


def _before_first(
    found: Sequence[Pair], unit: Unit, margin: float, looks: Looks
) -> Comparison:
    """What may be said before any look: nothing, or that the candidate is broken."""
    first = Looks(pairs=(len(found) + MIN_PAIRS,), alpha=looks.alpha_per_look)
    return judge_at_looks(found, unit=unit, margin=margin, looks=first).comparison


def _next(found: Sequence[Pair], looks: Looks) -> int | None:
    parts = sort_pairs(found)
    failures = len(parts.candidate_failed) + len(parts.baseline_failed)
    neither = sum(
        not pair.disturbed and pair.baseline is None and pair.candidate is None
        for pair in found
    )
    if not parts.complete:
        if failures + neither >= ENOUGH_FAILURES:
            return None
        return looks.pairs[0]
    return looks.next_after(len(parts.complete))


def _first_complete(found: Sequence[Pair], count: int) -> Sequence[Pair] | None:
    """The pairs up to the complete one of that number; None where there are fewer."""
    ends = [end for end, pair in enumerate(found, 1) if pair.complete]
    return found[: ends[count - 1]] if len(ends) >= count else None
