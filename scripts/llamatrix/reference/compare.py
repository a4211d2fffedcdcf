"""Holds our numbers against published ones."""

import statistics
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from llamatrix.reference.comparison import (
    Comparison,
    Difference,
    OurNumber,
    Verdict,
    conflicts,
    differences,
)
from llamatrix.reference.deciding import (
    SpeedSpread,
    by_band,
    by_trials,
    of_a_trial,
    speed_spread,
)
from llamatrix.reference.finding import Finding, Severity, concerning
from llamatrix.reference.quantity import Quantity
from llamatrix.reference.reference_set import Claim, Statistic

TOLERANCES: dict[Quantity, float] = {
    Quantity.MODEL_SIZE: 0.01,
    Quantity.TOTAL_PARAMS: 0.01,
    Quantity.MAX_CONTEXT: 0.01,
}
NOT_MEASURED = "not measured by us"
DEFAULT_TOLERANCE = 0.10
"""Same GPU class: chips, coolers and drivers of one class differ by so much."""


def compare(
    claims: Sequence[Claim],
    ours: Mapping[str, OurNumber],
    *,
    findings: Sequence[Finding] = (),
    tolerance: float | None = None,
) -> tuple[Comparison, ...]:
    """One comparison for each claim; `tolerance` overrules those of the quantities."""
    spread = speed_spread(claims, ours)
    return tuple(
        compare_one(
            claim,
            ours.get(claim.id),
            findings=findings,
            tolerance=tolerance,
            spread=spread,
        )
        for claim in claims
    )


def compare_one(
    claim: Claim,
    ours: OurNumber | None,
    *,
    findings: Sequence[Finding] = (),
    tolerance: float | None = None,
    spread: SpeedSpread = SpeedSpread(),  # noqa: B008  (frozen)
) -> Comparison:
    carried = concerning(findings, claim.id)
    theirs = _middle(claim)
    bare = Comparison(
        claim=claim.id,
        verdict=Verdict.NOT_COMPARABLE,
        reason=NOT_MEASURED,
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
        marks=ours.marks,
        records=ours.records,
        interval=(
            (ours.interval[0] / theirs, ours.interval[1] / theirs)
            if ours.interval and theirs
            else None
        ),
    )
    reason = next(_obstacles(claim, differing, carried), "")
    if reason:
        return msgspec.structs.replace(known, reason=reason)
    allowed = (
        tolerance
        if tolerance is not None
        else TOLERANCES.get(claim.quantity, DEFAULT_TOLERANCE)
    )
    if of_a_trial(claim):
        return by_trials(known, claim, ours, allowed)
    return by_band(known, claim, ours, tolerance=allowed, spread=spread)


def _obstacles(
    claim: Claim, differing: Sequence[Difference], carried: Sequence[Finding]
) -> Iterator[str]:
    """Why the two cannot be held against each other."""
    if claim.proxy_for:
        yield f"published for {claim.model}, a proxy for {claim.proxy_for}"
    if claim.statistic in {Statistic.LOWEST, Statistic.HIGHEST}:
        yield f"published is the {claim.statistic} of several conditions"
    for finding in carried:
        if finding.severity is Severity.IMPOSSIBLE and finding.suspect == claim.id:
            yield f"the published figure cannot be right: {finding.says}"
    for one in conflicts(differing, claim.quantity):
        yield f"{one.condition}: {one.ours} here, {one.theirs} there"
    if _middle(claim) == 0:
        yield "published as zero: there is no ratio"


def _middle(claim: Claim) -> float:
    """The printed figure in base units; MB and GB midway between their two meanings."""
    interval, printed = claim.interval, claim.printed
    if not printed.high:
        return 0.0
    factors = [interval.high / printed.high]
    if printed.low:
        factors.append(interval.low / printed.low)
    return claim.value * statistics.fmean(factors)
