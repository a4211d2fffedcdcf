"""A source agrees with itself: its tables with each other, its text with its tables."""

import itertools
from collections import defaultdict
from collections.abc import Iterator, Sequence

from llamatrix.reference.conditions import covers
from llamatrix.reference.quantity import Interval, decimals, printed_interval
from llamatrix.reference.reference_set import Claim, Relation, Statement
from llamatrix.reference.rules.rule import ClaimIndex, Finding, Severity, hull, subject

_Sides = tuple[list[Claim], list[Claim]]


def printed_twice(index: ClaimIndex) -> Iterator[Finding]:
    """A number that several tables print is the same in all of them.

    Several columns of one table are samples and may differ.
    """
    subjects: dict[object, dict[str, list[Claim]]]
    subjects = defaultdict(lambda: defaultdict(list))
    for claim in index.claims:
        subjects[subject(claim)][claim.table].append(claim)
    for tables in subjects.values():
        first, *others = tables.values()
        for other in others:
            if hull(first).meets(hull(other)):
                continue
            here, there = first[0], other[0]
            yield Finding(
                rule="printed twice",
                severity=Severity.INCONSISTENT,
                claims=tuple(claim.id for claim in (*first, *other)),
                says=(
                    f"{here.model}: {here.quantity} is {here.text} in {here.table} and "
                    f"{there.text} in {there.table}"
                ),
                arithmetic=f"{_range(first)} and {_range(other)} have no value in common",
            )


def summaries(index: ClaimIndex) -> Iterator[Finding]:
    """A number with fewer conditions lies among those with more."""
    for claim in index.claims:
        details = [
            other
            for other in index.claims
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
                    f"summarises {figures}"
                ),
                arithmetic=f"{_range([claim])} lies outside {_range(details)}",
            )


def _range(claims: list[Claim]) -> str:
    low = min(claim.printed.low for claim in claims)
    high = max(claim.printed.high for claim in claims)
    return f"{low:,.6g} to {high:,.6g} {claims[0].unit}"


def statements(index: ClaimIndex) -> Iterator[Finding]:
    """What the text says about the order and ratio of figures is true of the tables."""
    for statement in index.statements:
        columns = _columns(index, statement)
        match statement.is_:
            case Relation.ABOVE:
                yield from _order(statement, [sides[::-1] for sides in columns])
            case Relation.BELOW:
                yield from _order(statement, columns)
            case Relation.TIMES:
                yield from _ratio(statement, columns)
            case Relation.LARGEST_THAT_FITS:
                continue


def _columns(index: ClaimIndex, statement: Statement) -> list[_Sides]:
    columns: dict[tuple[str, str], _Sides] = defaultdict(lambda: ([], []))
    for claim in index.of(statement.quantity):
        named = not statement.tables or claim.table in statement.tables
        if named and covers(statement.conditions, claim.conditions):
            sides = columns[claim.table, claim.column]
            if not statement.of or claim.model in statement.of:
                sides[0].append(claim)
            elif not statement.than or claim.model in statement.than:
                sides[1].append(claim)
    return [sides for sides in columns.values() if all(sides)]


def _order(statement: Statement, columns: Sequence[_Sides]) -> Iterator[Finding]:
    """No lower figure is above an upper one; equal figures pass."""
    for lower, upper in columns:
        low = max(lower, key=lambda claim: claim.interval.low)
        high = min(upper, key=lambda claim: claim.interval.high)
        if low.interval.low > high.interval.high:
            yield Finding(
                rule="text=table",
                severity=Severity.INCONSISTENT,
                claims=(low.id, high.id),
                says=f'"{statement.says}" contradicts {low.quantity} in {low.table}',
                arithmetic=(
                    f"{low.model} {low.figure} > {high.model} {high.figure} {high.unit}"
                ),
            )


def _ratio(statement: Statement, columns: Sequence[_Sides]) -> Iterator[Finding]:
    """The ratios of all pairs enclose the stated one."""
    pairs = [
        pair
        for firsts, seconds in columns
        for pair in itertools.product(firsts, seconds)
    ]
    if not pairs:
        return
    each = [first.interval.over(second.interval) for first, second in pairs]
    ratios = Interval(
        low=min(ratio.low for ratio in each), high=max(ratio.high for ratio in each)
    )
    factor = statement.factor or 0.0
    stated = printed_interval(factor, step=statement.step, rounding=statement.rounding)
    if not ratios.meets(stated):
        yield Finding(
            rule="text=table",
            severity=Severity.INCONSISTENT,
            claims=tuple(dict.fromkeys(claim.id for pair in pairs for claim in pair)),
            says=f'"{statement.says}" contradicts the tables',
            arithmetic=(
                f"ratios of {ratios.low:.3g} to {ratios.high:.3g}; "
                f"{factor:.{decimals(statement.step)}f} means {stated.low:.3g} to "
                f"{stated.high:.3g}"
            ),
        )
