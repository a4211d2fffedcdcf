"""What survives a change of hardware: ratios between models, and their rank order."""

import itertools
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence

from msgspec import Struct

from llamatrix.reference.compare import DEFAULT_TOLERANCE
from llamatrix.reference.comparison import OurNumber, conflicts, differences
from llamatrix.reference.finding import Finding, Severity
from llamatrix.reference.quantity import RATES, Rounding
from llamatrix.reference.reference_set import Claim

_HARDWARE = {"gpu", "gpu_count"}
_MADE_UP = ("weights", "full")


class Pair(Struct, frozen=True, kw_only=True):
    """How many times as fast the first model is as the second."""

    models: tuple[str, str]
    ours: float
    theirs: float
    within: bool
    """Whether the two ratios agree within the tolerance."""

    @property
    def ratio(self) -> float:
        return self.ours / self.theirs


class ModelRatios(Struct, frozen=True, kw_only=True):
    """One column of a published table, seen without its hardware."""

    table: str
    column: str
    ours: tuple[str, ...]
    """Models, the fastest first."""
    theirs: tuple[str, ...]
    tau: float | None
    """Kendall's tau-b of the two orders; None where one side is all ties."""
    pairs: tuple[Pair, ...]
    left_out: tuple[str, ...] = ()
    """Claims that cannot be right, are proxies, were measured otherwise or not at all."""


def model_ratios(
    claims: Sequence[Claim],
    ours: Mapping[str, OurNumber],
    *,
    findings: Sequence[Finding] = (),
    tolerance: float = DEFAULT_TOLERANCE,
) -> tuple[ModelRatios, ...]:
    """For every column of speeds with two models or more that both sides have."""
    suspects = {
        finding.suspect
        for finding in findings
        if finding.severity is Severity.IMPOSSIBLE
    }
    columns: dict[tuple[str, str], list[Claim]] = defaultdict(list)
    for claim in claims:
        if claim.quantity in RATES:
            columns[claim.table, claim.column].append(claim)
    found = []
    for (table, column), listed in columns.items():
        usable = [
            claim
            for claim in listed
            if claim.id not in suspects and _usable(claim, ours.get(claim.id))
        ]
        if len(usable) > 1:
            left_out = tuple(claim.id for claim in listed if claim not in usable)
            found.append(_ratios(table, column, usable, ours, tolerance, left_out))
    return tuple(found)


def _usable(claim: Claim, ours: OurNumber | None) -> bool:
    """Whether both sides have the number, and differ in no more than the hardware.

    What is printed with a tilde is of no use for a ratio. Weights made up at full size pass: speed depends on shapes and types, not values.
    """
    if ours is None or not ours.values or claim.proxy_for or not claim.value:
        return False
    if claim.rounding is Rounding.ABOUT:
        return False
    found = conflicts(differences(ours.conditions, claim.conditions), claim.quantity)
    return all(
        one.condition in _HARDWARE or (one.condition, one.ours) == _MADE_UP
        for one in found
    )


def kendall_tau(one: Sequence[float], other: Sequence[float]) -> float | None:
    """Tau-b: agreeing less disagreeing pairs, ties taken out of each side's share."""
    score, untied_one, untied_other = 0, 0, 0
    for (a, b), (c, d) in itertools.combinations(zip(one, other, strict=True), 2):
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
        one, other = mine[first] / mine[second], theirs[first] / theirs[second]
        pairs.append(
            Pair(
                models=(first, second),
                ours=one,
                theirs=other,
                within=1 - tolerance <= one / other <= 1 + tolerance,
            )
        )
    return ModelRatios(
        table=table,
        column=column,
        ours=tuple(sorted(mine, key=lambda model: -mine[model])),
        theirs=tuple(sorted(theirs, key=lambda model: -theirs[model])),
        tau=kendall_tau([mine[model] for model in theirs], list(theirs.values())),
        pairs=tuple(pairs),
        left_out=left_out,
    )
