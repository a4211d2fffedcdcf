"""Reads paired samples from a file that anybody may have made: JSON lines."""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Annotated

import msgspec

from llamatrix.errors import ReportError
from llamatrix.verdict.metric import Unit
from llamatrix.verdict.pairs import Arm, Pair

_EXAMPLE = '{"pair": 1, "arm": "baseline", "value": 41.5, "unit": "tok/s"}'
_WANTED = f"write one sample a line, as {_EXAMPLE}"
_BEYOND_USE = 1e100
"""No speed and no time; larger values would overflow their own mean."""
_Whole = Annotated[int, msgspec.Meta(ge=-(2**53), le=2**53)]


class _Line(msgspec.Struct, frozen=True, kw_only=True):
    """One sample; keys that are not named here are let pass."""

    pair: _Whole
    arm: Arm
    value: float
    unit: Unit


@dataclass(frozen=True, kw_only=True, slots=True)
class Samples:
    unit: Unit
    pairs: tuple[Pair, ...]
    """By pair number."""
    notes: tuple[str, ...]


def read_samples(path: Path) -> Samples:
    """Read lines of pair, arm, value and unit, in any order; blank lines are fine.

    Several values of one arm in one pair are samples of one process: their mean
    counts. An arm without a line in a pair gave no value there; but where only the
    last pair lacks an arm, the run was cut short, and that pair is dropped with a
    note. ReportError says which line is wrong.
    """
    lines = tuple(_lines(path))
    if not lines:
        raise ReportError(f"{path.name}: no samples; {_WANTED}")
    first = lines[0]
    for number, line in lines:
        if line.unit is not first[1].unit:
            raise ReportError(
                f"{path.name}:{number}: unit: {line.unit!s}, but line {first[0]} has "
                f"{first[1].unit!s}; one file holds one unit, so split it or convert"
            )
    pairs = _paired(line for _, line in lines)
    kept = _without_unfinished(pairs)
    notes = tuple(
        f"pair {pair.number} is left out: the file ends before its second arm"
        for pair in pairs[len(kept) :]
    )
    return Samples(unit=first[1].unit, pairs=kept, notes=notes)


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
    for key in _Line.__struct_fields__:
        if key not in raw:
            raise ReportError(f"{where}: {key}: missing; {_WANTED}")
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
    for key, kind, expected in (
        ("pair", _Whole, "a whole number"),
        ("arm", Arm, " or ".join(repr(str(arm)) for arm in Arm)),
        ("value", float, "a number above 0"),
        ("unit", Unit, ", ".join(repr(str(unit)) for unit in Unit)),
    ):
        try:
            msgspec.convert(raw[key], type=kind)
        except (msgspec.ValidationError, OverflowError):
            return f"{key}: expected {expected}, got {str(raw[key])[:60]!r}"
    raise AssertionError(raw)


def _paired(lines: Iterable[_Line]) -> tuple[Pair, ...]:
    values: dict[int, dict[Arm, list[float]]] = defaultdict(lambda: defaultdict(list))
    for line in lines:
        values[line.pair][line.arm].append(line.value)
    return tuple(
        Pair(
            number=number,
            baseline=_mean(arms.get(Arm.BASELINE)),
            candidate=_mean(arms.get(Arm.CANDIDATE)),
        )
        for number, arms in sorted(values.items())
    )


def _mean(values: list[float] | None) -> float | None:
    return fmean(values) if values else None


def _without_unfinished(pairs: tuple[Pair, ...]) -> tuple[Pair, ...]:
    """All but a last pair that alone lacks an arm."""
    *before, last = pairs
    cut_short = (
        bool(before) and not last.complete and all(pair.complete for pair in before)
    )
    return tuple(before) if cut_short else pairs
