"""Pairs of fresh processes, one of each arm: which can be used, and as what number."""

import math
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from llamatrix.stats.metric import Unit


class Arm(StrEnum):
    BASELINE = "baseline"
    CANDIDATE = "candidate"


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """One process of each arm, run next to each other in an order drawn at random."""

    number: int
    baseline: float | None
    """Mean of the process' samples, in the unit of the comparison; None: it gave none."""
    candidate: float | None
    disturbed: str = ""
    """Why this pair does not count (throttled, foreign load), or empty."""
    baseline_mhz: float | None = None
    """Mean SM clock while the process measured; None without telemetry."""
    candidate_mhz: float | None = None

    @property
    def complete(self) -> bool:
        """Undisturbed, with a value of both arms."""
        return not (self.disturbed or self.baseline is None or self.candidate is None)

    def __post_init__(self) -> None:
        for name in ("baseline", "candidate", "baseline_mhz", "candidate_mhz"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise ValueError(f"pair {self.number}: {name}: not above 0: {value!r}")


@dataclass(frozen=True, kw_only=True, slots=True)
class LeftOut:
    pair: int
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Sorted:
    """The pairs of a comparison, told apart."""

    complete: tuple[Pair, ...]
    """In the given order."""
    left_out: tuple[LeftOut, ...]
    candidate_failed: tuple[int, ...]
    """Numbers of undisturbed pairs where only the baseline gave a value."""
    baseline_failed: tuple[int, ...]

    @property
    def candidate_broken(self) -> bool:
        """The baseline works, the candidate never gave a value."""
        return bool(self.candidate_failed) and not (
            self.complete or self.baseline_failed
        )


def drawn_order(seed: int | str, pair: int) -> tuple[Arm, Arm]:
    """Return the order in which a pair's arms run: the same for the same seed and pair.

    Each pair is drawn by itself. A fixed order, even ABBA, calls a disturbance of its
    own period a change: one of period four in 53-79 % of runs.
    """
    baseline_first = random.Random(f"{seed}/{pair}").random() < 1 / 2  # noqa: S311
    first, second = Arm.BASELINE, Arm.CANDIDATE
    return (first, second) if baseline_first else (second, first)


def sort_pairs(pairs: Iterable[Pair]) -> Sorted:
    complete: list[Pair] = []
    left_out: list[LeftOut] = []
    candidate_failed: list[int] = []
    baseline_failed: list[int] = []
    for pair in pairs:
        if pair.disturbed:
            reason = f"disturbed: {pair.disturbed}"
        elif pair.baseline is None and pair.candidate is None:
            reason = "neither arm gave a value"
        elif pair.candidate is None:
            reason = "the candidate gave no value"
            candidate_failed.append(pair.number)
        elif pair.baseline is None:
            reason = "the baseline gave no value"
            baseline_failed.append(pair.number)
        else:
            complete.append(pair)
            continue
        left_out.append(LeftOut(pair=pair.number, reason=reason))
    return Sorted(
        complete=tuple(complete),
        left_out=tuple(left_out),
        candidate_failed=tuple(candidate_failed),
        baseline_failed=tuple(baseline_failed),
    )


def log_ratios(pairs: Sequence[Pair], unit: Unit) -> tuple[float, ...]:
    """Log of the candidate's speed over the baseline's, one per complete pair.

    Below 0 the candidate is slower, whichever way the unit runs.
    """
    sign = 1 if unit.higher_is_better else -1
    return tuple(
        sign * (math.log(pair.candidate) - math.log(pair.baseline))
        for pair in pairs
        if pair.baseline is not None and pair.candidate is not None
    )


def clock_log_ratios(pairs: Sequence[Pair], unit: Unit) -> tuple[float, ...] | None:
    """The same per clock cycle: work per cycle over work per cycle.

    A rate is divided by the mean SM clock, a time multiplied by it; in logs both
    take away the log ratio of the clocks. None unless every pair has both clocks.
    Idea: cycle space, as NVBench measures it.
    """
    ratios = []
    for pair, ratio in zip(pairs, log_ratios(pairs, unit), strict=True):
        if pair.baseline_mhz is None or pair.candidate_mhz is None:
            return None
        ratios.append(ratio - math.log(pair.candidate_mhz / pair.baseline_mhz))
    return tuple(ratios)
