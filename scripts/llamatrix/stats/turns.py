"""Correct on turn: an ordinal outcome, censored where the turns ran out."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from llamatrix.stats.estimate import Interval
from llamatrix.stats.passes import Passes, wilson


@dataclass(frozen=True, kw_only=True, slots=True)
class TurnPoint:
    turn: int
    correct: int
    """Trials that were correct on this turn or before."""
    share: float
    band: Interval
    """Wilson, 95 %, for this turn alone."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TurnCurve:
    """P(correct by turn t) for t = 1 to max_turns."""

    points: tuple[TurnPoint, ...]
    trials: int
    censored: int
    """Trials that were never correct within max_turns."""


def turn_curve(turns: Sequence[int | None], *, max_turns: int) -> TurnCurve:
    """From the turn on which each trial was correct; None: censored at max_turns.

    All trials had the same number of turns, so a share is a plain proportion.
    """
    _check(turns, max_turns)
    if not turns:
        raise ValueError("turns: no trials")
    points = []
    for turn in range(1, max_turns + 1):
        correct = sum(one is not None and one <= turn for one in turns)
        passes = Passes(passed=correct, trials=len(turns))
        points.append(
            TurnPoint(
                turn=turn, correct=correct, share=passes.rate, band=wilson(passes)
            )
        )
    return TurnCurve(
        points=tuple(points),
        trials=len(turns),
        censored=sum(one is None for one in turns),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class TurnComparison:
    difference: float
    """Mean turn of the candidate minus the baseline's, censored ones as max + 1."""
    p_value: float
    """Two-sided, that the labels of the arms mean nothing."""


def compare_turns(
    baseline: Sequence[int | None],
    candidate: Sequence[int | None],
    *,
    max_turns: int,
) -> TurnComparison:
    """Permutation test of the mean turn, exact: every relabelling is counted.

    Turns are small whole numbers, so the sums of all subsets can be counted without
    listing them (Pagano & Tritchler, J. Am. Stat. Assoc. 1983).
    """
    _check([*baseline, *candidate], max_turns)
    if not baseline or not candidate:
        raise ValueError("turns: an arm without trials")
    scores = [_score(one, max_turns) for one in (*baseline, *candidate)]
    size, everything = len(candidate), sum(scores)
    seen = _distance(sum(scores[len(baseline) :]), everything, size, len(scores))
    ways = _subset_sums(scores, size)
    extreme = sum(
        count
        for total, count in ways.items()
        if _distance(total, everything, size, len(scores)) >= seen
    )
    mean = sum(scores[len(baseline) :]) / size
    return TurnComparison(
        difference=mean - sum(scores[: len(baseline)]) / len(baseline),
        p_value=extreme / math.comb(len(scores), size),
    )


def _distance(total: int, everything: int, size: int, trials: int) -> int:
    """How far a group's sum is from its expectation, in whole numbers."""
    return abs(total * trials - everything * size)


def _subset_sums(scores: Sequence[int], size: int) -> Counter[int]:
    """How many subsets of so many scores have which sum."""
    by_size = [Counter({0: 1}), *(Counter[int]() for _ in range(size))]
    for score in scores:
        for taken in range(size, 0, -1):
            for total, count in by_size[taken - 1].items():
                by_size[taken][total + score] += count
    return by_size[size]


def _score(turn: int | None, max_turns: int) -> int:
    return max_turns + 1 if turn is None else turn


def _check(turns: Sequence[int | None], max_turns: int) -> None:
    for turn in turns:
        if turn is not None and not 1 <= turn <= max_turns:
            raise ValueError(f"turns: {turn} is not within 1 to {max_turns}")
