"""Trials of two arms to a verdict: of each cell, and of all cells together."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from llamatrix.stats.intervals import beta_cdf
from llamatrix.stats.pass_rates import (
    DROP,
    HARD_BREAK_TRIALS,
    PassComparison,
    Passes,
    TurnComparison,
    compare_passes,
    compare_turns,
    is_hard_break,
    likely_verdict,
)
from llamatrix.stats.verdict import Verdict, most_severe

_STEPS = 1000
"""Of the grid on which rates are added up."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ArmTrials:
    """What one arm did with one task: only what ended by the model's own doing counts."""

    turns: tuple[int | None, ...] = ()
    """Of the scored trials: the turn that was correct; None: none was."""
    undecided: int = 0
    lost: int = 0
    """Ended by the harness' own sandbox, or by a failure that was not tried again."""
    broken: tuple[str, ...] = ()
    """Ended by server or agent, twice in a row: how, one for each trial."""
    refused: int = 0
    """Of the scored trials: those in which the server refused or broke off a call."""
    template_fails: bool = False
    """Its chat template fails a case that agents cannot work without."""

    @property
    def passes(self) -> Passes | None:
        if not self.turns:
            return None
        passed = sum(turn is not None for turn in self.turns)
        return Passes(passed=passed, trials=len(self.turns))

    @property
    def clean(self) -> Passes | None:
        """Scored trials without a refused call."""
        if not self.turns:
            return None
        trials = len(self.turns)
        return Passes(passed=trials - self.refused, trials=trials)


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialComparison:
    verdict: Verdict
    """As `PassComparison` reads it: SLOWER is "passes less often"."""
    baseline: ArmTrials
    candidate: ArmTrials
    comparison: PassComparison | None
    """None where an arm has no scored trial."""
    turns: TurnComparison | None
    breaks: tuple[str, ...]
    """Why it is BROKEN."""


def judge_trials(
    baseline: ArmTrials,
    candidate: ArmTrials,
    *,
    max_turns: int,
    broken: str = "",
) -> TrialComparison:
    """Judge one cell. `broken` says why the candidate could not even be begun."""
    reasons = (*([broken] if broken else []), *breaks(baseline, candidate))
    comparison = turns = None
    if baseline.passes and candidate.passes:
        comparison = compare_passes(baseline.passes, candidate.passes)
        turns = compare_turns(baseline.turns, candidate.turns, max_turns=max_turns)
    verdict = comparison.verdict if comparison else Verdict.INCONCLUSIVE
    return TrialComparison(
        verdict=Verdict.BROKEN if reasons else verdict,
        baseline=baseline,
        candidate=candidate,
        comparison=comparison,
        turns=turns,
        breaks=reasons,
    )


def breaks(baseline: ArmTrials, candidate: ArmTrials) -> tuple[str, ...]:
    """The hard breaks, in words: what need not wait for significance.

    A trial counts as broken after two attempts, so one is enough where the baseline
    works and has none; where it has some too, the candidate must do nothing else.
    Refused calls follow the rule of passes: sampled text may upset any parser once.
    """
    reasons = []
    if candidate.template_fails and not baseline.template_fails:
        reasons.append("the candidate's chat template fails an essential case")
    works = bool(baseline.turns)
    if candidate.broken and works and (not baseline.broken or not candidate.turns):
        many = len(candidate.broken)
        reasons.append(f"{many} trials broke, twice each: {candidate.broken[-1]}")
    if _all_to_none(baseline.passes, candidate.passes):
        reasons.append(
            f"no trial passes, where all of the baseline's at least "
            f"{HARD_BREAK_TRIALS} do"
        )
    if _all_to_none(baseline.clean, candidate.clean):
        reasons.append(
            "every trial has calls that the server refused or broke off, and none of "
            "the baseline's has"
        )
    return tuple(reasons)


def _all_to_none(baseline: Passes | None, candidate: Passes | None) -> bool:
    return bool(baseline and candidate and is_hard_break(baseline, candidate))


@dataclass(frozen=True, kw_only=True, slots=True)
class Pooled:
    """Of the mean rate over cells, each cell counted alike."""

    cells: int
    baseline: Passes
    """All trials together …"""
    candidate: Passes
    """… though a mean over cells is what is judged."""
    mean_drop: float
    """Of the posterior means; above 0 the candidate passes less often."""
    drop_probability: float
    """That it is more than 10 points."""
    rise_probability: float

    @property
    def verdict(self) -> Verdict:
        return likely_verdict(self.drop_probability, self.rise_probability)


def pooled(comparisons: Sequence[PassComparison]) -> Pooled:
    """Of at least one cell. The same cells in both arms: each is its own control.

    The posterior of the mean difference, flat priors, cells independent: each rate on
    a grid of a thousandth, then sums of them by convolution.
    """
    import numpy as np

    total = np.ones(1)
    for comparison in comparisons:
        baseline, candidate = (
            np.diff([beta_cdf(at / _STEPS, *arm.posterior) for at in range(_STEPS + 1)])
            for arm in (comparison.baseline, comparison.candidate)
        )
        total = np.convolve(total, np.convolve(baseline, candidate[::-1]))
    middle, threshold = len(total) // 2, round(DROP * _STEPS * len(comparisons))
    return Pooled(
        cells=len(comparisons),
        baseline=_together([comparison.baseline for comparison in comparisons]),
        candidate=_together([comparison.candidate for comparison in comparisons]),
        mean_drop=math.fsum(
            each.baseline.posterior_mean - each.candidate.posterior_mean
            for each in comparisons
        )
        / len(comparisons),
        drop_probability=float(
            total[middle + threshold + 1 :].sum() + total[middle + threshold] / 2
        ),
        rise_probability=float(
            total[: middle - threshold].sum() + total[middle - threshold] / 2
        ),
    )


def overall_verdict(
    comparisons: Sequence[TrialComparison], together: Pooled | None
) -> Verdict:
    """The most severe of the cells, or worse where only all cells together show a drop.

    Together they can take nothing back: a mean that stays may hide a cell that fell.
    """
    verdicts = [comparison.verdict for comparison in comparisons]
    if together and together.verdict is Verdict.SLOWER:
        verdicts.append(Verdict.SLOWER)
    return most_severe(verdicts)


def _together(arms: Sequence[Passes]) -> Passes:
    return Passes(
        passed=sum(arm.passed for arm in arms), trials=sum(arm.trials for arm in arms)
    )
