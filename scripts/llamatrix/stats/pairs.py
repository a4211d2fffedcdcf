"""Pairs of fresh processes, one of each arm, and their reader for files of samples."""

import json
import math
import random
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import StrEnum
from itertools import pairwise
from pathlib import Path
from statistics import fmean, stdev
from typing import Annotated

import msgspec

from llamatrix.errors import ReportError
from llamatrix.stats.verdict import MIN_PAIRS, Unit


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
class SortedPairs:
    """The pairs of a comparison by what can be used of them."""

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


def sort_pairs(pairs: Iterable[Pair]) -> SortedPairs:
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
    return SortedPairs(
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


_EXAMPLE = '{"pair": 1, "arm": "baseline", "value": 41.5, "unit": "tok/s"}'
_WANTED = f"write one sample a line, as {_EXAMPLE}"
_BEYOND_USE = 1e100
"""No speed and no time; larger values would overflow their own mean."""
_SAME_UNIT = {"tokens/s": "tok/s", "t/s": "tok/s"}
"""As our own tables and llama-bench print it."""
_TELLING = 4
"""Pairs that are unlikely to begin with the same arm by chance, one in eight."""
_Whole = Annotated[int, msgspec.Meta(ge=-(2**53), le=2**53)]


class _Line(msgspec.Struct, frozen=True, kw_only=True):
    """One sample; keys that are not named here are let pass."""

    pair: _Whole
    arm: Arm
    value: float
    unit: Unit
    order: float | None = None
    """When its process ran: rising with time over the whole file, or in its pair."""
    process: int | str | None = None
    """Tells the processes of an arm apart."""


_REQUIRED = ("pair", "arm", "value", "unit")


@dataclass(frozen=True, kw_only=True, slots=True)
class Samples:
    unit: Unit
    pairs: tuple[Pair, ...]
    """By pair number."""
    notes: tuple[str, ...] = ()
    rounding_log: float = 0.0
    """How far the rounding of the values can have moved the mean log-ratio."""


def read_samples(path: Path) -> Samples:
    """Read lines of pair, arm, value and unit, in any order; blank lines are fine.

    Several values of one arm in one pair are samples of one process: their mean
    counts. An arm without a line in a pair gave no value there; but where only the
    last pair lacks an arm, the run was cut short, and that pair is dropped with a
    note. With `process`, pairs that share a process become one; with `order`, a pair
    counts only if no other pair ran between its arms. ReportError says which line is
    wrong.
    """
    numbered = tuple(_lines(path))
    if not numbered:
        raise ReportError(f"{path.name}: no samples; {_WANTED}")
    _refuse_mixed(numbered, path.name)
    lines, notes = _one_pair_a_process([line for _, line in numbered])
    pairs = _paired(lines)
    kept = _without_unfinished(pairs)
    notes += [
        f"pair {pair.number} is left out: the file ends before its second arm"
        for pair in pairs[len(kept) :]
    ]
    kept, about_order = _next_to_each_other(kept, lines)
    return Samples(
        unit=lines[0].unit,
        pairs=kept,
        notes=(*notes, *about_order),
        rounding_log=rounding_log(
            [line.value for line in lines if line.arm is arm] for arm in Arm
        ),
    )


def _lines(path: Path) -> Iterator[tuple[int, _Line]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ReportError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ReportError(f"{path.name}: not UTF-8 text; {_WANTED}") from error
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield number, _line(line, f"{path.name}:{number}")


def _line(text: str, where: str) -> _Line:
    try:
        # json and not msgspec: Python writes NaN into JSON, and that gets an answer
        raw = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ReportError(f"{where}: not valid JSON: {error}; {_WANTED}") from error
    if not isinstance(raw, dict):
        raise ReportError(f"{where}: expected an object, got {text[:60]!r}; {_WANTED}")
    for key in _REQUIRED:
        if key not in raw:
            raise ReportError(f"{where}: {key}: missing; {_WANTED}")
    if isinstance(raw["unit"], str):
        raw["unit"] = _SAME_UNIT.get(raw["unit"], raw["unit"])
    try:
        line = msgspec.convert(raw, type=_Line)
    except (msgspec.ValidationError, OverflowError) as error:
        raise ReportError(f"{where}: {_complaint(raw)}") from error
    if not 0 < line.value < _BEYOND_USE:  # refuses NaN too
        raise ReportError(
            f"{where}: value: must be a number above 0, got {raw['value']!r}; leave "
            "the line out where a process gave no value"
        )
    return line


def _complaint(raw: dict[str, object]) -> str:
    """The first key whose value does not fit, what was expected, what was found."""
    units = [*Unit, *_SAME_UNIT]
    for key, kind, expected in (
        ("pair", _Whole, "a whole number"),
        ("arm", Arm, " or ".join(repr(str(arm)) for arm in Arm)),
        ("value", float, "a number above 0"),
        ("unit", Unit, ", ".join(repr(str(unit)) for unit in units)),
        ("order", float | None, "a number that rises with time"),
        ("process", int | str | None, "a number or a name"),
    ):
        try:
            msgspec.convert(raw.get(key), type=kind)
        except (msgspec.ValidationError, OverflowError):
            return f"{key}: expected {expected}, got {str(raw[key])[:60]!r}"
    raise AssertionError(raw)


def _refuse_mixed(numbered: Sequence[tuple[int, _Line]], name: str) -> None:
    """Refuse a second unit, and lines without what the first one has."""
    begin, first = numbered[0]
    for number, line in numbered:
        if line.unit is not first.unit:
            raise ReportError(
                f"{name}:{number}: unit: {line.unit!s}, but line {begin} has "
                f"{first.unit!s}; one file holds one unit, so split it or convert"
            )
        for key in ("order", "process"):
            with_it, without = begin, number
            if getattr(first, key) is None:
                with_it, without = number, begin
            if (getattr(line, key) is None) != (getattr(first, key) is None):
                raise ReportError(
                    f"{name}:{without}: {key}: missing, but line {with_it} has it; "
                    "give it in every line or in none"
                )


def _one_pair_a_process(lines: Sequence[_Line]) -> tuple[list[_Line], list[str]]:
    """Return the lines with one number for all pairs that share a process."""
    first_pair: dict[tuple[Arm, int | str], int] = {}
    joined: dict[int, int] = {}

    def root(pair: int) -> int:
        while pair in joined:
            pair = joined[pair]
        return pair

    for line in lines:
        if line.process is None:
            return list(lines), []
        known = root(first_pair.setdefault((line.arm, line.process), line.pair))
        low, high = sorted((known, root(line.pair)))
        if low != high:
            joined[high] = low
    notes = []
    if joined:
        numbered = len({line.pair for line in lines})
        left = len({root(line.pair) for line in lines})
        notes.append(
            f"repetitions of one process are numbered as pairs: the {numbered} pairs "
            f"count as {left}, since only fresh processes show how much a process "
            "varies from the next"
        )
    return [
        msgspec.structs.replace(line, pair=root(line.pair)) for line in lines
    ], notes


def _paired(lines: Iterable[_Line]) -> tuple[Pair, ...]:
    values: dict[int, dict[Arm, list[float]]] = defaultdict(lambda: defaultdict(list))
    for line in lines:
        values[line.pair][line.arm].append(line.value)
    return tuple(
        Pair(
            number=number,
            baseline=fmean(arms[Arm.BASELINE]) if Arm.BASELINE in arms else None,
            candidate=fmean(arms[Arm.CANDIDATE]) if Arm.CANDIDATE in arms else None,
        )
        for number, arms in sorted(values.items())
    )


def _without_unfinished(pairs: tuple[Pair, ...]) -> tuple[Pair, ...]:
    """All but a last pair that alone lacks an arm."""
    *before, last = pairs
    cut_short = (
        bool(before) and not last.complete and all(pair.complete for pair in before)
    )
    return tuple(before) if cut_short else pairs


def _next_to_each_other(
    pairs: tuple[Pair, ...], lines: Sequence[_Line]
) -> tuple[tuple[Pair, ...], list[str]]:
    """Leave out pairs whose arms did not run next to each other, where the file says so."""
    places: dict[int, dict[Arm, list[float]]] = defaultdict(lambda: defaultdict(list))
    for line in lines:
        if line.order is not None:
            places[line.pair][line.arm].append(line.order)
    if not places:
        return pairs, _unordered_notes(lines)
    in_pair = len({line.order for line in lines}) <= len(Arm)
    kept = []
    for pair in pairs:
        own = [place for arm in places[pair.number].values() for place in arm]
        between = {
            line.pair
            for line in lines
            if line.pair != pair.number and min(own) <= (line.order or 0.0) <= max(own)
        }
        if pair.complete and between and not in_pair:
            why = f"pair {min(between)} ran between its two arms"
            pair = replace(pair, disturbed=why)  # noqa: PLW2901
        kept.append(pair)
    counting = [pair for pair in kept if pair.complete]
    notes = []
    if len(counting) < min(MIN_PAIRS, len(pairs)):
        notes.append(
            "the arms ran in blocks, and then a machine that warms up or slows down "
            "looks like a change; run them in turn, in an order drawn at random"
        )
    orders = [places[pair.number] for pair in counting]
    first = {min(arms, key=lambda arm: min(arms[arm])) for arms in orders}
    if len(counting) >= _TELLING and len(first) == 1:
        notes.append(
            f"the {first.pop()} ran first in every pair: a machine that drifts looks "
            "like a change; draw the order of each pair at random"
        )
    return tuple(kept), notes


def _unordered_notes(lines: Sequence[_Line]) -> list[str]:
    """Ask for the order where the file looks like one block for each arm."""
    changes = sum(before.arm is not after.arm for before, after in pairwise(lines))
    if changes != 1 or len({line.pair for line in lines}) < MIN_PAIRS:
        return []
    note = (
        "the file lists one arm after the other: if they also ran so, a machine that "
        'drifts looks like a change; "order" in each line would show it'
    )
    return [note]


def rounding_log(arms: Iterable[Sequence[float]]) -> float:
    """Return how far rounding can have moved the mean log-ratio of the arms' values.

    Half a step of the values as written for each arm that hardly leaves one step: then
    all of its values may be off to the same side. Noise of a step and more averages
    rounding out, and what is left of it shows in the spread of the pairs.
    """
    written = [values for values in arms if values]
    last_places = [[_last_place(value) for value in values] for values in written]
    coarsest = max(0, min(map(min, last_places)))
    error = 0.0
    for values, places in zip(written, last_places, strict=True):
        step = 10.0 ** min(coarsest, *places)
        if len(values) == 1 or stdev(values) < step:
            error += step / 2 / fmean(values)
    return error


def _last_place(value: float) -> int:
    """Return the power of ten of the last digit that is not zero: 46.50 has -1."""
    return int(Decimal(repr(value)).normalize().as_tuple().exponent)
