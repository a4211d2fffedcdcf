"""Paired samples to one word, with everything needed to doubt it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from llamatrix.stats.estimate import ALPHA, Estimate, Interval, estimate
from llamatrix.stats.metric import Unit
from llamatrix.stats.pairs import (
    LeftOut,
    Pair,
    Sorted,
    clock_log_ratios,
    log_ratios,
    sort_pairs,
)
from llamatrix.stats.power import smallest_effect, upper_sd
from llamatrix.stats.rule import MIN_PAIRS, Rule
from llamatrix.stats.word import Word

_WORTH_TELLING = 0.0005
"""Rounding that widens an interval by less than 0.05 % goes without a note."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """What may be said of one metric of one cell."""

    word: Word
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

        As the first of so many cells that Holm tries; None where it is not known.
        """
        return self._smallest(margin=self.rule.margin, cells=cells)

    def smallest_detectable(self, *, cells: int = 1) -> float | None:
        """Return the smallest loss that 80 % of such runs would tell from none.

        Their interval lies below 1; whether the loss matters is the margin's business.
        """
        return self._smallest(margin=0.0, cells=cells)

    def _smallest(self, *, margin: float, cells: int) -> float | None:
        found = self.estimate
        if found is None or not found.sd_log:
            return None
        return smallest_effect(
            sd_log=upper_sd(found.sd_log, values=found.pairs),
            pairs=found.pairs,
            margin=margin,
            alpha=self.rule.alpha / cells,
            rounding_log=found.rounding_log,
        )

    def with_notes(self, *notes: str) -> "Comparison":
        return replace(self, notes=(*self.notes, *notes))


def judge(
    pairs: Sequence[Pair],
    *,
    unit: Unit,
    margin: float | None = None,
    alpha: float = ALPHA,
    rounding_log: float = 0.0,
) -> Comparison:
    """Judge all the pairs, once. The margin defaults to the unit's own."""
    rule = Rule(margin=unit.margin if margin is None else margin, alpha=alpha)
    found = sort_pairs(pairs)
    ratios = log_ratios(found.complete, unit)
    overall = estimate(ratios, rounding_log=rounding_log) if ratios else None
    cycles = clock_log_ratios(found.complete, unit)
    per_cycle = estimate(cycles, rounding_log=rounding_log) if cycles else None
    word, notes = _word(found, overall, rule)
    if word in {Word.SLOWER, Word.FASTER} and per_cycle:
        notes = (*notes, _clock_note(word, rule.word(per_cycle)))
    return Comparison(
        word=word,
        unit=unit,
        rule=rule,
        estimate=overall,
        per_cycle=per_cycle,
        used=tuple(pair.number for pair in found.complete),
        left_out=found.left_out,
        notes=notes,
    )


def _word(
    found: Sorted, overall: Estimate | None, rule: Rule
) -> tuple[Word, tuple[str, ...]]:
    if found.candidate_broken:
        count = len(found.candidate_failed)
        note = f"the baseline gave a value in {count} of {count} pairs, the candidate in none"
        return Word.BROKEN, (note,)
    if overall is None:
        return Word.INCONCLUSIVE, ("no undisturbed pair has a value of both arms",)
    if overall.pairs < MIN_PAIRS:
        note = (
            f"complete, undisturbed pairs: {overall.pairs}; a claim needs {MIN_PAIRS}"
        )
        return Word.INCONCLUSIVE, (note,)
    word = rule.word(overall)
    notes: list[str] = []
    if found.candidate_failed and word in {Word.SAME, Word.FASTER}:
        # What is missing may be what is bad: survivors cannot speak for it.
        word = Word.INCONCLUSIVE
        numbers = ", ".join(map(str, found.candidate_failed))
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
    return word, tuple(notes)


def _clock_note(word: Word, per_cycle: Word) -> str:
    """Whether a change is still there per clock cycle; never a word of its own."""
    if per_cycle is word:
        return "per clock cycle the change is still there: code, not clock"
    if per_cycle is Word.SAME:
        return "clock, not code: per clock cycle the change vanishes"
    if per_cycle is Word.INCONCLUSIVE:
        return "the clocks differ, and per clock cycle nothing can be claimed"
    return "the clocks differ: per clock cycle the change points the other way"
