"""A quantity printed twice is printed alike; a summary lies among its details."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from llamatrix.reference.conditions import covers
from llamatrix.reference.quantity import Interval, decimals, printed_interval
from llamatrix.reference.reference_set import Claim, Relation, Statement
from llamatrix.reference.rules.rule import ClaimIndex, Finding, Severity, hull, subject


def printed_twice(ledger: ClaimIndex) -> Iterator[Finding]:
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


def summaries(ledger: ClaimIndex) -> Iterator[Finding]:
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


_Sides = tuple[list[Claim], list[Claim]]


def statements(ledger: ClaimIndex) -> Iterator[Finding]:
    for statement in ledger.statements:
        columns = _columns(ledger, statement)
        match statement.is_:
            case Relation.ABOVE:
                yield from _order(statement, [(two, one) for one, two in columns])
            case Relation.BELOW:
                yield from _order(statement, columns)
            case Relation.TIMES:
                yield from _ratio(statement, columns)
            case Relation.LARGEST_THAT_FITS:
                continue


def _columns(ledger: ClaimIndex, statement: Statement) -> list[_Sides]:
    """The figures of both sides, one pair of lists for each column of a table."""
    found: dict[tuple[str, str], _Sides] = defaultdict(lambda: ([], []))
    for claim in ledger.of(statement.quantity):
        if (statement.tables and claim.table not in statement.tables) or not covers(
            statement.conditions, claim.conditions
        ):
            continue
        sides = found[claim.table, claim.column]
        if not statement.of or claim.model in statement.of:
            sides[0].append(claim)
        elif not statement.than or claim.model in statement.than:
            sides[1].append(claim)
    return [sides for sides in found.values() if all(sides)]


def _order(statement: Statement, columns: Sequence[_Sides]) -> Iterator[Finding]:
    """Each of the first is at most each of the second; equal figures pass."""
    for lower, upper in columns:
        one = max(lower, key=lambda claim: claim.interval.low)
        two = min(upper, key=lambda claim: claim.interval.high)
        if one.interval.low > two.interval.high:
            yield Finding(
                rule="text=table",
                severity=Severity.INCONSISTENT,
                claims=(one.id, two.id),
                says=f'"{statement.says}", but {one.quantity} in {one.table} says otherwise',
                arithmetic=(
                    f"{one.model} {one.figure} > {two.model} {two.figure} {two.unit}"
                ),
            )


def _ratio(statement: Statement, columns: Sequence[_Sides]) -> Iterator[Finding]:
    """Some pair of the two sides has that ratio, or they lie to both sides of it."""
    pairs = [
        (one, two, one.interval.over(two.interval))
        for firsts, seconds in columns
        for one in firsts
        for two in seconds
    ]
    if not pairs:
        return
    hull = Interval(
        low=min(ratio.low for _, _, ratio in pairs),
        high=max(ratio.high for _, _, ratio in pairs),
    )
    factor = statement.factor or 0.0
    said = printed_interval(factor, step=statement.step, rounding=statement.rounding)
    if not hull.meets(said):
        yield Finding(
            rule="text=table",
            severity=Severity.INCONSISTENT,
            claims=tuple(dict.fromkeys(one.id for pair in pairs for one in pair[:2])),
            says=f'"{statement.says}", but its tables say otherwise',
            arithmetic=(
                f"ratios of {hull.low:.3g} to {hull.high:.3g}; "
                f"{factor:.{decimals(statement.step)}f} means {said.low:.3g} to "
                f"{said.high:.3g}"
            ),
        )
