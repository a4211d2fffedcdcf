"""A comparison as people read it: number by number, conditions, hardware-free view."""

from collections import Counter
from collections.abc import Iterator, Sequence

from llamatrix.reference.reference_set import Claim
from llamatrix.reference.roofline import NoRoofline, Roofline
from llamatrix.reference.verdict import Comparison, Difference
from llamatrix.report.formats import (
    amount_text,
    interval_text,
    ratio_text,
    share_text,
    speed_text,
)
from llamatrix.report.render.markdown import markdown
from llamatrix.report.speed import Group
from llamatrix.report.table import Cell, Column, Reference, Row, Table, number, numbers
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
        parts.append(markdown(numbers_table(found)).rstrip())
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
        parts += [markdown(table).rstrip() for table in ratio_tables(found.held)]
    return "\n\n".join(parts) + "\n"


def _group_text(held: Held) -> str:
    what = held.trials or f"{held.sweep} sweep"
    return f"{what}, pin {held.pin}, build {held.build}, {held.weights} weights"


def numbers_table(found: Versus) -> Table:
    claims = found.published.by_id
    return Table(
        caption=f"Ours against {found.published.name}",
        columns=(
            "Number",
            *numbers("Ours", "Theirs", "Ratio"),
            *("Our 95 % interval", "Reproduced within", "Seen at 80 %", "Verdict"),
            Column("Reason", wide=True),
        ),
        rows=tuple(
            (
                one.claim,
                number(
                    one.ours or 0.0,
                    amount_text(claims[one.claim].quantity, one.ours or 0.0),
                    records=one.records,
                ),
                number(one.theirs, claims[one.claim].text),
                number(one.ratio, ratio_text),
                _interval_cell(one.interval),
                _interval_cell(one.band),
                factor_text(one),
                verdict_text(one),
                reason_text(one),
            )
            for one in found.held.measured
        ),
    )


def _interval_cell(interval: tuple[float, float] | None) -> Cell:
    """Sorted by the lower end."""
    low = interval and interval[0]
    return number(low, interval_text(interval), missing="")


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
        caption="Without the hardware: order of the models",
        columns=(
            "Column",
            *(Column(f"{whose} order", wide=True) for whose in ("Our", "Their")),
            *numbers("Kendall's tau", "Pairs alike"),
        ),
        rows=tuple(
            (
                f"{one.table}/{one.column}",
                " > ".join(one.ours),
                " > ".join(one.theirs),
                number(one.tau, "{:.2f}".format),
                number(
                    alike := sum(pair.within for pair in one.pairs),
                    f"{alike} of {len(one.pairs)}",
                ),
            )
            for one in held.ratios
        ),
    )
    pairs = Table(
        caption="Without the hardware: ratios between models",
        columns=(
            "Column",
            "Pair",
            *numbers("Ours", "Theirs", "Ours / theirs"),
            "Alike",
        ),
        rows=tuple(
            (
                f"{one.table}/{one.column}",
                " / ".join(pair.models),
                *(
                    number(ratio, ratio_text)
                    for ratio in (pair.ours, pair.theirs, pair.ratio)
                ),
                "yes" if pair.within else "no",
            )
            for one in held.ratios
            for pair in one.pairs
        ),
    )
    return orders, pairs


def published_roofline_table(
    found: Sequence[Roofline | NoRoofline], claims: Sequence[Claim]
) -> Table:
    by_id = {claim.id: claim for claim in claims}
    return roofline_table(
        "Roofline: published",
        [(one, number(by_id[one.claim].value, speed_text)) for one in found],
    )


def our_roofline_table(found: Sequence[Roofline | NoRoofline]) -> Table:
    return roofline_table(
        "Roofline: ours, steady means", [(one, our_speed(one)) for one in found]
    )


def our_speed(
    found: Roofline | NoRoofline, records: tuple[Reference, ...] = ()
) -> Cell:
    """The speed that a limit was calculated for."""
    speed = found.fraction * found.limit if isinstance(found, Roofline) else None
    return number(speed, speed_text, "tokens/s", records=records)


def roofline_table(
    caption: str, found: Sequence[tuple[Roofline | NoRoofline, Cell]]
) -> Table:
    """Each speed beside its limit; those without a limit are counted by reason."""
    reasons = Counter(one.reason for one, _ in found if isinstance(one, NoRoofline))
    rows: list[Row] = [
        (
            one.claim,
            speed,
            number(one.limit, speed_text, "tokens/s"),
            number(
                one.fraction,
                f"{'at least ' if one.floor else ''}{share_text(one.fraction)}",
            ),
            one.peak,
            one.arithmetic + (f" ({one.unsure})" if one.unsure else ""),
        )
        for one, speed in found
        if isinstance(one, Roofline)
    ]
    rows += [
        (f"{count} numbers", "", "", "no limit", "", reason)
        for reason, count in reasons.items()
    ]
    return Table(
        caption=caption,
        columns=(
            "Number",
            *numbers("tokens/s", "Limit", "Reached"),
            "Bound by",
            Column("Arithmetic", wide=True),
        ),
        rows=tuple(rows),
    )
