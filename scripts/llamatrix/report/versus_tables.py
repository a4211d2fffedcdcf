"""A comparison as people read it: number by number, conditions, hardware-free view."""

from collections import Counter
from collections.abc import Iterator, Sequence

from llamatrix.reference.reference_set import Claim
from llamatrix.reference.roofline import NoRoofline, Roofline
from llamatrix.reference.verdict import Comparison, Difference
from llamatrix.report.amounts import (
    amount_text,
    interval_text,
    percent_text,
    ratio_text,
    speed_text,
)
from llamatrix.report.speed import Group
from llamatrix.report.tables import Table
from llamatrix.report.versus import Held, Versus

MEANS_NOTE = (
    "speeds here are llama-bench's own means, first repetition included, as the published "
    "ones are; the speed tables show steady means"
)


def versus_text(found: Versus) -> str:
    """One group against one set, as Markdown."""
    parts = [
        f"## {found.held.host}: {_group_text(found.held)}",
        f"{found.held.summary}.",
    ]
    if found.held.comparable:
        parts.append(numbers_table(found).markdown().rstrip())
        if isinstance(found.group, Group):
            parts.append(f"Ours: {MEANS_NOTE}.")
        parts += [
            "\n".join(lines)
            for lines in (
                ["Not measured:", *not_measured(found)],
                ["Conditions that differ (ours; theirs):", *_differences(found)],
                ["What the audit says:", *(f"- {one.text}" for one in found.carried)],
            )
            if len(lines) > 1
        ]
    if found.held.ratios:
        parts += [table.markdown().rstrip() for table in ratio_tables(found.held)]
    return "\n\n".join(parts) + "\n"


def _group_text(held: Held) -> str:
    what = held.trials or f"{held.sweep} sweep"
    return f"{what}, pin {held.pin}, build {held.build}, {held.weights} weights"


def numbers_table(found: Versus) -> Table:
    claims = found.published.by_id
    return Table(
        title=f"Ours against {found.published.name}",
        header=(
            *("Number", "Ours", "Theirs", "Ratio", "Our 95 % interval"),
            *("Reproduced within", "Seen at 80 %", "Verdict", "Reason"),
        ),
        rows=tuple(
            (
                one.claim,
                amount_text(claims[one.claim].quantity, one.ours or 0.0),
                claims[one.claim].text,
                ratio_text(one.ratio),
                interval_text(one.interval),
                interval_text(one.band),
                factor_text(one),
                verdict_text(one),
                reason_text(one),
            )
            for one in found.held.measured
        ),
        right=(1, 2, 3),
    )


def verdict_text(one: Comparison) -> str:
    """`reproduced`, and `(not firmly)` where our interval crosses the band's edge."""
    return f"{one.verdict} (not firmly)" if one.firm is False else str(one.verdict)


def factor_text(one: Comparison) -> str:
    """`x3.44 to x6.86`: the smallest difference that would be seen with 80 % power.

    The first if the trials' spread is as seen, the second at its upper bound.
    """
    ends = (one.detectable_factor, one.detectable_factor_upper)
    return " to ".join(f"x{factor:.3g}" for factor in ends if factor is not None)


def reason_text(one: Comparison) -> str:
    """The reason, and marks where our machine was noisy or the audit speaks."""
    return "; ".join([one.reason, *all_marks(one)])


def all_marks(one: Comparison) -> list[str]:
    audit = sorted({f"audit: {finding.severity}" for finding in one.findings})
    return [*(f"ours: {mark}" for mark in one.marks), *audit]


def not_measured(found: Versus) -> list[str]:
    """A line for each published table and reason: how many of its numbers we lack."""
    missing = Counter(
        (one.claim.split("/")[0], one.reason)
        for one in found.held.comparisons
        if one.ours is None
    )
    return [
        f"- {table}: {count} number{'s' * (count > 1)}, {reason}"
        for (table, reason), count in missing.items()
    ]


def difference_text(difference: Difference) -> str:
    ours, theirs = (
        "not stated" if side is None else str(side)
        for side in (difference.ours, difference.theirs)
    )
    return f"{difference.condition}: {ours}; {theirs}"


def _differences(found: Versus) -> Iterator[str]:
    total = len(found.held.measured)
    for difference, count in found.shared_differences().items():
        whole = "all" if count == total else f"{count} of {total}"
        yield f"- {difference_text(difference)} ({whole} numbers)"


def ratio_tables(held: Held) -> tuple[Table, Table]:
    """The hardware-free view: rank order of the models, then every pair of them."""
    orders = Table(
        title="Without the hardware: order of the models",
        header=("Column", "Our order", "Their order", "Kendall's tau", "Pairs alike"),
        rows=tuple(
            (
                f"{one.table}/{one.column}",
                " > ".join(one.ours),
                " > ".join(one.theirs),
                "n/a" if one.tau is None else f"{one.tau:.2f}",
                f"{sum(pair.within for pair in one.pairs)} of {len(one.pairs)}",
            )
            for one in held.ratios
        ),
        right=(3, 4),
    )
    pairs = Table(
        title="Without the hardware: ratios between models",
        header=("Column", "Pair", "Ours", "Theirs", "Ours / theirs", "Alike"),
        rows=tuple(
            (
                f"{one.table}/{one.column}",
                " / ".join(pair.models),
                ratio_text(pair.ours),
                ratio_text(pair.theirs),
                ratio_text(pair.ratio),
                "yes" if pair.within else "no",
            )
            for one in held.ratios
            for pair in one.pairs
        ),
        right=(2, 3, 4),
    )
    return orders, pairs


def published_roofline_table(
    found: Sequence[Roofline | NoRoofline], claims: Sequence[Claim]
) -> Table:
    by_id = {claim.id: claim for claim in claims}
    return _roofline_table(
        "Roofline: published", [(one, by_id[one.claim].value) for one in found]
    )


def our_roofline_table(found: Sequence[Roofline | NoRoofline]) -> Table:
    return _roofline_table(
        "Roofline: ours, steady means",
        [
            (one, one.fraction * one.limit if isinstance(one, Roofline) else None)
            for one in found
        ],
    )


def _roofline_table(
    title: str, found: Sequence[tuple[Roofline | NoRoofline, float | None]]
) -> Table:
    """Numbers without a limit are counted by reason, not listed."""
    reasons = Counter(one.reason for one, _ in found if isinstance(one, NoRoofline))
    rows = [
        (
            one.claim,
            speed_text(value or 0.0),
            speed_text(one.limit),
            f"{'at least ' if one.floor else ''}{percent_text(one.fraction)}",
            one.peak,
            one.arithmetic + (f" ({one.unsure})" if one.unsure else ""),
        )
        for one, value in found
        if isinstance(one, Roofline)
    ]
    rows += [
        (f"{count} numbers", "", "", "no limit", "", reason)
        for reason, count in reasons.items()
    ]
    return Table(
        title=title,
        header=("Number", "tokens/s", "Limit", "Reached", "Bound by", "Arithmetic"),
        rows=tuple(rows),
        right=(1, 2, 3),
    )
