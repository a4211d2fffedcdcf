"""A quantity printed twice is printed alike; a summary lies among its details."""

from collections import defaultdict
from collections.abc import Iterator

from llamatrix.reference.conditions import covers
from llamatrix.reference.finding import Finding, Severity
from llamatrix.reference.ledger import Ledger, hull, subject
from llamatrix.reference.reference_set import Claim


def printed_twice(ledger: Ledger) -> Iterator[Finding]:
    """Tables against each other; several columns of one table are samples."""
    found: dict[object, dict[str, list[Claim]]] = defaultdict(lambda: defaultdict(list))
    for claim in ledger.claims:
        found[subject(claim)][claim.table].append(claim)
    for tables in found.values():
        first, *others = tables.values()
        for other in others:
            if hull(first).meets(hull(other)):
                continue
            one, two = first[0], other[0]
            yield Finding(
                rule="printed twice",
                severity=Severity.INCONSISTENT,
                claims=tuple(claim.id for claim in (*first, *other)),
                says=(
                    f"{one.model}: {one.quantity} is {one.text} in {one.table} and "
                    f"{two.text} in {two.table}"
                ),
                arithmetic=f"{_between(first)} and {_between(other)} have no value in common",
            )


def summaries(ledger: Ledger) -> Iterator[Finding]:
    """A number that says less of its conditions stands for those that say more."""
    for claim in ledger.claims:
        details = [
            other
            for other in ledger.claims
            if other.table != claim.table
            and subject(other)[:3] == subject(claim)[:3]
            and other.conditions != claim.conditions
            and covers(claim.conditions, other.conditions)
        ]
        if details and not hull(details).meets(claim.interval):
            figures = ", ".join(other.figure for other in details)
            yield Finding(
                rule="summary=details",
                severity=Severity.INCONSISTENT,
                claims=(claim.id, *(other.id for other in details)),
                says=(
                    f"{claim.model}: {claim.quantity} {claim.text} in {claim.table} "
                    f"sums up {figures}"
                ),
                arithmetic=f"{_between([claim])} lies outside {_between(details)}",
            )


def _between(claims: list[Claim]) -> str:
    low = min(claim.printed.low for claim in claims)
    high = max(claim.printed.high for claim in claims)
    return f"{low:,.6g} to {high:,.6g} {claims[0].unit}"
