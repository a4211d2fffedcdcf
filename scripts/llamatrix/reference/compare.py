"""Compares our numbers with published ones: figures, ratios and rank order."""

import itertools
import math
import statistics
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

import msgspec
from msgspec import Struct

from llamatrix.reference.quantity import RATES, Quantity, Rounding
from llamatrix.reference.reference_set import Claim, Statistic
from llamatrix.reference.rules.rule import Finding, Severity, findings_about
from llamatrix.reference.verdict import (
    Comparison,
    ComparisonVerdict,
    Difference,
    OurNumber,
    SpeedSpread,
    conflicts,
    decide_by_band,
    decide_by_trials,
    differences,
    is_trial_quantity,
    speed_spread,
)

TOLERANCES = dict.fromkeys(
    (Quantity.MODEL_SIZE, Quantity.TOTAL_PARAMS, Quantity.MAX_CONTEXT), 0.01
)
NOT_MEASURED = "not measured by us"
DEFAULT_TOLERANCE = 0.10
"""Spread of chips, coolers and drivers within one GPU class."""


def compare(
    claims: Sequence[Claim],
    ours: Mapping[str, OurNumber],
    *,
    findings: Sequence[Finding] = (),
    tolerance: float | None = None,
) -> tuple[Comparison, ...]:
    """Return one comparison per claim; `tolerance` overrides those of the quantities."""
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
    carried = findings_about(findings, claim.id)
    theirs = _middle(claim)
    bare = Comparison(
        claim=claim.id,
        verdict=ComparisonVerdict.NOT_COMPARABLE,
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
    interval = None
    if ours.interval and theirs:
        interval = (ours.interval[0] / theirs, ours.interval[1] / theirs)
    known = msgspec.structs.replace(
        bare,
        ours=ours.mean,
        ratio=ours.mean / theirs if theirs else None,
        differences=differing,
        marks=ours.marks,
        records=ours.records,
        interval=interval,
    )
    if reason := next(_obstacles(claim, differing, carried), ""):
        return msgspec.structs.replace(known, reason=reason)
    if tolerance is None:
        tolerance = TOLERANCES.get(claim.quantity, DEFAULT_TOLERANCE)
    if is_trial_quantity(claim):
        return decide_by_trials(known, claim, ours, tolerance)
    return decide_by_band(known, claim, ours, tolerance=tolerance, spread=spread)


def _obstacles(
    claim: Claim, differing: Sequence[Difference], carried: Sequence[Finding]
) -> Iterator[str]:
    if claim.proxy_for:
        yield f"published for {claim.model}, a proxy for {claim.proxy_for}"
    if claim.statistic in {Statistic.LOWEST, Statistic.HIGHEST}:
        yield f"the published figure is the {claim.statistic} of several conditions"
    for finding in carried:
        if finding.severity is Severity.IMPOSSIBLE and finding.suspect == claim.id:
            yield f"the published figure cannot be right: {finding.says}"
    for conflict in conflicts(differing, claim.quantity):
        yield f"{conflict.condition}: ours {conflict.ours}, theirs {conflict.theirs}"
    if _middle(claim) == 0:
        yield "the published figure is zero: there is no ratio"


def _middle(claim: Claim) -> float:
    """Return the printed figure in base units, MB and GB midway between their meanings."""
    interval, printed = claim.interval, claim.printed
    if not printed.high:
        return 0.0
    factors = [interval.high / printed.high]
    if printed.low:
        factors.append(interval.low / printed.low)
    return claim.value * statistics.fmean(factors)


_HARDWARE = {"gpu", "gpu_count"}
_SYNTHETIC = ("weights", "full")


class Pair(Struct, frozen=True, kw_only=True):
    """The speed of the first model divided by that of the second."""

    models: tuple[str, str]
    ours: float
    theirs: float
    within: bool
    """Whether the two ratios agree within the tolerance."""

    @property
    def ratio(self) -> float:
        return self.ours / self.theirs


class ModelRatios(Struct, frozen=True, kw_only=True):
    """One column of a published table, independent of its hardware."""

    table: str
    column: str
    ours: tuple[str, ...]
    """Models, fastest first."""
    theirs: tuple[str, ...]
    tau: float | None
    """Kendall's tau-b of the two orders; None where one side is all ties."""
    pairs: tuple[Pair, ...]
    left_out: tuple[str, ...] = ()
    """Claims that cannot be right, are proxies, or have no comparable number of ours."""


def model_ratios(
    claims: Sequence[Claim],
    ours: Mapping[str, OurNumber],
    *,
    findings: Sequence[Finding] = (),
    tolerance: float = DEFAULT_TOLERANCE,
) -> tuple[ModelRatios, ...]:
    """Return the ratios of every speed column with two or more models on both sides."""
    suspects = {
        finding.suspect
        for finding in findings
        if finding.severity is Severity.IMPOSSIBLE
    }
    columns: dict[tuple[str, str], list[Claim]] = defaultdict(list)
    for claim in claims:
        if claim.quantity in RATES:
            columns[claim.table, claim.column].append(claim)
    ratios = []
    for (table, column), listed in columns.items():
        usable = [
            claim
            for claim in listed
            if claim.id not in suspects and _usable(claim, ours.get(claim.id))
        ]
        if len(usable) > 1:
            left_out = tuple(claim.id for claim in listed if claim not in usable)
            ratios.append(_ratios(table, column, usable, ours, tolerance, left_out))
    return tuple(ratios)


def _usable(claim: Claim, ours: OurNumber | None) -> bool:
    """Return whether both sides have the number and differ in the hardware only.

    Figures with a tilde are too coarse for a ratio. Synthetic weights of full size are
    accepted: speed depends on shapes and types, not on values.
    """
    if ours is None or not ours.values or claim.proxy_for or not claim.value:
        return False
    if claim.rounding is Rounding.ABOUT:
        return False
    reasons = conflicts(differences(ours.conditions, claim.conditions), claim.quantity)
    return all(
        reason.condition in _HARDWARE or (reason.condition, reason.ours) == _SYNTHETIC
        for reason in reasons
    )


def kendall_tau(ours: Sequence[float], theirs: Sequence[float]) -> float | None:
    """Return Kendall's tau-b, which corrects for ties on each side."""
    score, untied_one, untied_other = 0, 0, 0
    for (a, b), (c, d) in itertools.combinations(zip(ours, theirs, strict=True), 2):
        first, second = _sign(a - c), _sign(b - d)
        score += first * second
        untied_one += abs(first)
        untied_other += abs(second)
    if not untied_one or not untied_other:
        return None
    return score / math.sqrt(untied_one * untied_other)


def _sign(value: float) -> int:
    return (value > 0) - (value < 0)


def _ratios(
    table: str,
    column: str,
    usable: Sequence[Claim],
    ours: Mapping[str, OurNumber],
    tolerance: float,
    left_out: tuple[str, ...],
) -> ModelRatios:
    theirs = {claim.model: claim.value for claim in usable}
    mine = {claim.model: ours[claim.id].mean for claim in usable}
    pairs = []
    for first, second in itertools.combinations(theirs, 2):
        our, their = mine[first] / mine[second], theirs[first] / theirs[second]
        within = 1 - tolerance <= our / their <= 1 + tolerance
        models = (first, second)
        pairs.append(Pair(models=models, ours=our, theirs=their, within=within))
    return ModelRatios(
        table=table,
        column=column,
        ours=tuple(sorted(mine, key=lambda model: -mine[model])),
        theirs=tuple(sorted(theirs, key=lambda model: -theirs[model])),
        tau=kendall_tau([mine[model] for model in theirs], list(theirs.values())),
        pairs=tuple(pairs),
        left_out=left_out,
    )
