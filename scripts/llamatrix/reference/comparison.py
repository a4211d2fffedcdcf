"""Ours against theirs, number by number: what is said of a pair, and what keeps it apart."""

import statistics
from collections.abc import Sequence
from enum import StrEnum

from msgspec import Struct

from llamatrix.reference.conditions import CLASS, FIELDS, SUBJECT, Conditions
from llamatrix.reference.finding import Finding
from llamatrix.reference.quantity import Quantity

BY_CORRECTNESS = frozenset({Quantity.CORRECT_TURN, Quantity.TASKS_SOLVED})
"""What another criterion of correctness makes another quantity."""


class Verdict(StrEnum):
    REPRODUCED = "reproduced"
    DIFFERS = "differs"
    TOO_FEW_TRIALS = "too few trials"
    NOT_COMPARABLE = "not comparable"


class OurNumber(Struct, frozen=True, kw_only=True):
    """What the records say of one claim."""

    claim: str
    values: tuple[float, ...]
    """In base units (tokens/s, s, bytes, parameters, counts), one for each process or trial."""
    interval: tuple[float, float] | None = None
    """For their mean, where the statistics give one."""
    conditions: Conditions
    records: tuple[str, ...] = ()
    """Digests of the records behind it."""
    missing: str = ""
    """Why there are no values, where there are none."""
    marks: tuple[str, ...] = ()
    """What was wrong with the machine: `disturbed`, `unstable`."""

    @property
    def mean(self) -> float:
        return statistics.fmean(self.values)


class Difference(Struct, frozen=True, kw_only=True):
    condition: str
    ours: bool | float | str | None
    theirs: bool | float | str | None
    """None: not stated."""


class Comparison(Struct, frozen=True, kw_only=True):
    claim: str
    verdict: Verdict
    reason: str
    """Of the verdict, in words."""
    theirs: float
    """In base units."""
    ours: float | None = None
    ratio: float | None = None
    """Ours ÷ theirs."""
    interval: tuple[float, float] | None = None
    """Of the ratio, from our side alone."""
    band: tuple[float, float] | None = None
    """Ratios that count as reproduced: the tolerance, of a trial's quantity the 95 %
    prediction interval of one more trial, both widened by their rounding."""
    firm: bool | None = None
    """Whether our whole interval is on the verdict's side of the band."""
    p_value: float | None = None
    """That ours and theirs are alike; None where that was not tested."""
    detectable_factor: float | None = None
    """The smallest true factor between ours and theirs that would be called `differs`
    with 80 % power, if the spread is as seen here."""
    detectable_factor_upper: float | None = None
    """The same at the upper bound of the spread, of a trial's quantity."""
    differences: tuple[Difference, ...] = ()
    findings: tuple[Finding, ...] = ()
    """What the audit says of the published figure."""
    marks: tuple[str, ...] = ()
    """What was wrong with our machine: `disturbed`, `unstable`."""
    records: tuple[str, ...] = ()


def differences(ours: Conditions, theirs: Conditions) -> tuple[Difference, ...]:
    """All that either side states and the other does not, or states otherwise."""
    return tuple(
        Difference(condition=field, ours=one, theirs=other)
        for field in FIELDS
        if (one := getattr(ours, field)) != (other := getattr(theirs, field))
    )


def conflicts(
    differing: Sequence[Difference], quantity: Quantity
) -> tuple[Difference, ...]:
    """Those that forbid a comparison: subject or class, stated by both, and not alike."""
    binding = {*SUBJECT, *CLASS}
    if quantity in BY_CORRECTNESS:
        binding.add("correctness")
    return tuple(
        one
        for one in differing
        if one.condition in binding and one.ours is not None and one.theirs is not None
    )
