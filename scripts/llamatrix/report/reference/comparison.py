"""Ours against theirs, number by number.

A published figure is one mean with perhaps a deviation: it gets a ratio, a tolerance
band and a list of what differed, never a p-value.
"""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum

import msgspec
from msgspec import Struct

from llamatrix.report.reference.conditions import (
    CLASS,
    FIELDS,
    SUBJECT,
    Conditions,
)
from llamatrix.report.reference.finding import Finding, Severity, concerning
from llamatrix.report.reference.quantity import Quantity
from llamatrix.report.reference.reference_set import Claim, Statistic

TOLERANCES: dict[Quantity, float] = {
    Quantity.MODEL_SIZE: 0.01,
    Quantity.TOTAL_PARAMS: 0.01,
    Quantity.MAX_CONTEXT: 0.01,
}
DEFAULT_TOLERANCE = 0.10
"""Same GPU class: chips, coolers and drivers of one class differ by so much."""
TRAJECTORY = frozenset(
    {
        Quantity.PROMPT_TOKENS,
        Quantity.GENERATED_TOKENS,
        Quantity.REASONING_TOKENS,
        Quantity.PROMPT_TIME,
        Quantity.GENERATION_TIME,
        Quantity.API_CALLS,
        Quantity.TOOL_CALLS,
        Quantity.CORRECT_TURN,
        Quantity.TASKS_SOLVED,
    }
)
"""What one sampled run of an agent decides; only the spread of several speaks of it."""
_TRIALS = 3


class Verdict(StrEnum):
    REPRODUCED = "reproduced"
    DIFFERS = "differs"
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
    """Ratios that count as reproduced: the tolerance, widened by their rounding."""
    firm: bool | None = None
    """Whether our whole interval is on the verdict's side of the band."""
    differences: tuple[Difference, ...] = ()
    findings: tuple[Finding, ...] = ()
    """What the audit says of the published figure."""
    records: tuple[str, ...] = ()


def compare(
    claims: Sequence[Claim],
    ours: Mapping[str, OurNumber],
    *,
    findings: Sequence[Finding] = (),
    tolerance: float | None = None,
) -> tuple[Comparison, ...]:
    """One comparison for each claim; `tolerance` overrules those of the quantities."""
    return tuple(
        compare_one(claim, ours.get(claim.id), findings=findings, tolerance=tolerance)
        for claim in claims
    )


def compare_one(
    claim: Claim,
    ours: OurNumber | None,
    *,
    findings: Sequence[Finding] = (),
    tolerance: float | None = None,
) -> Comparison:
    carried = concerning(findings, claim.id)
    theirs = _middle(claim)
    bare = Comparison(
        claim=claim.id,
        verdict=Verdict.NOT_COMPARABLE,
        reason="not measured by us",
        theirs=theirs,
        findings=carried,
    )
    if ours is None:
        return bare
    if not ours.values:
        return msgspec.structs.replace(
            bare, reason=ours.missing or bare.reason, records=ours.records
        )
    differing = differences(ours.conditions, claim.conditions)
    ratio = ours.mean / theirs if theirs else None
    known = msgspec.structs.replace(
        bare,
        ours=ours.mean,
        ratio=ratio,
        differences=differing,
        records=ours.records,
        interval=(
            (ours.interval[0] / theirs, ours.interval[1] / theirs)
            if ours.interval and theirs
            else None
        ),
    )
    reason = next(_obstacles(claim, ours, differing, carried), "")
    if reason:
        return msgspec.structs.replace(known, reason=reason)
    if claim.quantity in TRAJECTORY:
        return _by_spread(known, claim, ours)
    allowed = (
        tolerance
        if tolerance is not None
        else TOLERANCES.get(claim.quantity, DEFAULT_TOLERANCE)
    )
    return _by_band(known, claim, allowed)


def differences(ours: Conditions, theirs: Conditions) -> tuple[Difference, ...]:
    """All that either side states and the other does not, or states otherwise."""
    return tuple(
        Difference(condition=field, ours=one, theirs=other)
        for field in FIELDS
        if (one := getattr(ours, field)) != (other := getattr(theirs, field))
    )


def conflicts(differing: Sequence[Difference]) -> tuple[Difference, ...]:
    """Those that forbid a comparison: subject or class, stated by both, and not alike."""
    return tuple(
        one
        for one in differing
        if one.condition in (*SUBJECT, *CLASS)
        and one.ours is not None
        and one.theirs is not None
    )


def _obstacles(
    claim: Claim,
    ours: OurNumber,
    differing: Sequence[Difference],
    carried: Sequence[Finding],
) -> Iterator[str]:
    """Why the two cannot be held against each other."""
    if claim.proxy_for:
        yield f"published for {claim.model}, a proxy for {claim.proxy_for}"
    if claim.statistic in {Statistic.LOWEST, Statistic.HIGHEST}:
        yield f"published is the {claim.statistic} of several conditions"
    for finding in carried:
        if finding.severity is Severity.IMPOSSIBLE and finding.suspect == claim.id:
            yield f"the published figure cannot be right: {finding.says}"
    for one in conflicts(differing):
        yield f"{one.condition}: {one.ours} here, {one.theirs} there"
    if claim.quantity in TRAJECTORY and len(ours.values) < _TRIALS:
        yield f"{len(ours.values)} of at least {_TRIALS} trials: one run says little"
    if _middle(claim) == 0:
        yield "published as zero: there is no ratio"


def _by_band(known: Comparison, claim: Claim, tolerance: float) -> Comparison:
    theirs = known.theirs
    low = (1 - tolerance) * claim.interval.low / theirs
    high = (1 + tolerance) * claim.interval.high / theirs
    ratio = known.ratio or 0.0
    inside = low <= ratio <= high
    firm = None
    if known.interval:
        ours_low, ours_high = known.interval
        within = low <= ours_low and ours_high <= high
        outside = ours_high < low or high < ours_low
        firm = within if inside else outside
    place = "inside" if inside else "outside"
    return msgspec.structs.replace(
        known,
        verdict=Verdict.REPRODUCED if inside else Verdict.DIFFERS,
        reason=f"ratio {ratio:.3f} is {place} {low:.3f} to {high:.3f}",
        band=(low, high),
        firm=firm,
    )


def _by_spread(known: Comparison, claim: Claim, ours: OurNumber) -> Comparison:
    low, high = min(ours.values), max(ours.values)
    inside = low <= claim.interval.high and claim.interval.low <= high
    place = "among" if inside else "outside"
    return msgspec.structs.replace(
        known,
        verdict=Verdict.REPRODUCED if inside else Verdict.DIFFERS,
        reason=(
            f"{claim.text} lies {place} our {len(ours.values)} trials, "
            f"{low:,.4g} to {high:,.4g}"
        ),
    )


def _middle(claim: Claim) -> float:
    """The printed figure in base units; MB and GB midway between their two meanings."""
    interval, printed = claim.interval, claim.printed
    if not printed.high:
        return 0.0
    factors = [interval.high / printed.high]
    if printed.low:
        factors.append(interval.low / printed.low)
    return claim.value * statistics.fmean(factors)
