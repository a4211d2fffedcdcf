"""One group of our records held against one reference set."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from msgspec import Struct

from llamatrix.config.matrix import WeightsKind
from llamatrix.reference.compare import NOT_MEASURED, ModelRatios, compare, model_ratios
from llamatrix.reference.gpu import Gpu
from llamatrix.reference.reference_set import Claim
from llamatrix.reference.roofline import NoRoofline, Roofline
from llamatrix.reference.rules.rule import Finding
from llamatrix.reference.verdict import (
    Comparison,
    ComparisonVerdict,
    Difference,
    OurNumber,
)
from llamatrix.report.formats import (
    amount_text,
    interval_text,
    ratio_text,
    share_text,
    speed_text,
)
from llamatrix.report.inputs import Published, RecordIndex
from llamatrix.report.our_numbers import our_numbers, our_trial_numbers
from llamatrix.report.render.markdown import markdown, warning_box
from llamatrix.report.speed import Group, synthetic_warning
from llamatrix.report.table import Cell, Column, Reference, Row, Table, number, numbers
from llamatrix.report.trials import TrialGroup

_SHOWN = 3
"""How many reasons are shown where nothing is comparable."""


class ComparisonResult(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What comes of it: part of the JSON of `invoke compare` and of certificates."""

    host: str
    weights: str
    pin: str
    build: str
    sweep: str
    """Of llama-bench's flags; empty for trials of an agent."""
    comparisons: tuple[Comparison, ...]
    """One for each published number, in the order of the set."""
    ratios: tuple[ModelRatios, ...]
    trials: str = ""
    """The setup that trials share; empty, and not written, for speeds."""

    @property
    def measured(self) -> tuple[Comparison, ...]:
        return tuple(
            comparison for comparison in self.comparisons if comparison.ours is not None
        )

    def count(self, verdict: ComparisonVerdict) -> int:
        return sum(comparison.verdict is verdict for comparison in self.comparisons)

    @property
    def comparable(self) -> bool:
        return self.count(ComparisonVerdict.NOT_COMPARABLE) < len(self.comparisons)

    @property
    def summary(self) -> str:
        """The count of each verdict, or in one line why nothing is comparable."""
        if not self.comparable:
            return f"Nothing is comparable: {'; '.join(self._reasons())}"
        missing = len(self.comparisons) - len(self.measured)
        apart = self.count(ComparisonVerdict.NOT_COMPARABLE) - missing
        counts = (
            (self.count(ComparisonVerdict.REPRODUCED), "reproduced"),
            (self.count(ComparisonVerdict.DIFFERS), "differ"),
            (self.count(ComparisonVerdict.TOO_FEW_TRIALS), "with too few trials"),
            (apart, "measured but not comparable"),
            (missing, "not measured"),
        )
        return ", ".join(f"{count} {words}" for count, words in counts if count)

    def _reasons(self) -> Iterator[str]:
        """Of all numbers that have one of their own, the most frequent first."""
        counts = Counter(
            comparison.reason
            for comparison in self.comparisons
            if comparison.reason != NOT_MEASURED
        ) or Counter([NOT_MEASURED] * len(self.comparisons))
        for reason, count in counts.most_common(_SHOWN):
            yield f"{count} number{'s' * (count > 1)}, {reason}"
        if len(counts) > _SHOWN:
            yield f"and {len(counts) - _SHOWN} other reasons"


@dataclass(frozen=True, kw_only=True, slots=True)
class SetComparison:
    published: Published
    group: Group | TrialGroup
    result: ComparisonResult

    @property
    def carried(self) -> tuple[Finding, ...]:
        """What the audit says of the figures that ours are held against."""
        problems = [
            finding
            for comparison in self.result.measured
            for finding in comparison.findings
        ]
        return tuple(dict.fromkeys(problems))

    def shared_differences(self) -> Mapping[Difference, int]:
        """How many measured numbers each difference of conditions concerns."""
        return Counter(
            difference
            for comparison in self.result.measured
            for difference in comparison.differences
        )


def compare_group(
    published: Published, group: Group, index: RecordIndex, gpus: Mapping[str, Gpu]
) -> SetComparison:
    ours = our_numbers(published.claims, group, index, gpus)
    return _compared(published, group, ours, group.weights, group.build, group.sweep)


def compare_trial_group(
    published: Published,
    group: TrialGroup,
    index: RecordIndex,
    gpus: Mapping[str, Gpu],
) -> SetComparison:
    """The same of an agent's trials."""
    ours = our_trial_numbers(published.claims, group, index, gpus)
    return _compared(published, group, ours, group.setup.weights, group.setup.build)


def _compared(
    published: Published,
    group: Group | TrialGroup,
    ours: Mapping[str, OurNumber],
    weights: WeightsKind,
    build: str,
    sweep: str = "",
) -> SetComparison:
    claims, findings = published.claims, published.findings
    result = ComparisonResult(
        host=group.host_slug,
        weights=weights.value,
        pin=group.pin_text,
        build=build,
        sweep=sweep,
        trials=group.setup.words if isinstance(group, TrialGroup) else "",
        comparisons=compare(claims, ours, findings=findings),
        ratios=model_ratios(claims, ours, findings=findings),
    )
    return SetComparison(published=published, group=group, result=result)


MEANS_NOTE = (
    "speeds here are llama-bench's own means, first repetition included, as the published "
    "ones are; the speed tables show steady means"
)


def set_comparison_text(compared: SetComparison) -> str:
    result = compared.result
    what = result.trials or f"{result.sweep} sweep"
    build = f"pin {result.pin}, build {result.build}, {result.weights} weights"
    heading = f"## {result.host}: {what}, {build}"
    parts = [heading, *warning_of(result), f"{result.summary}."]
    if result.comparable:
        parts.append(markdown(numbers_table(compared)).rstrip())
        if isinstance(compared.group, Group):
            parts.append(f"Ours: {MEANS_NOTE}.")
        lists = {
            "Not measured:": not_measured(compared),
            "Conditions that differ (ours; theirs):": _differences(compared),
            "What the audit says:": [f"- {one.text}" for one in compared.carried],
        }
        parts += ["\n".join([head, *lines]) for head, lines in lists.items() if lines]
    if result.ratios:
        parts += [markdown(table).rstrip() for table in ratio_tables(result)]
    return "\n\n".join(parts) + "\n"


def warning_of(result: ComparisonResult) -> tuple[str, ...]:
    """Return the box of a page about synthetic weights; none for others."""
    lines = warning_box(synthetic_warning(WeightsKind(result.weights)))
    return ("\n".join(lines).rstrip(),) if lines else ()


def numbers_table(compared: SetComparison) -> Table:
    claims = compared.published.by_id
    rows: list[Row] = []
    for comparison in compared.result.measured:
        claim, ours = claims[comparison.claim], comparison.ours or 0.0
        digests = comparison.records
        rows.append(
            (
                comparison.claim,
                number(ours, amount_text(claim.quantity, ours), records=digests),
                number(comparison.theirs, claim.text),
                number(comparison.ratio, ratio_text),
                _interval_cell(comparison.interval),
                _interval_cell(comparison.band),
                factor_text(comparison),
                verdict_text(comparison),
                reason_text(comparison),
            )
        )
    return Table(
        f"Ours against {compared.published.name}",
        (
            "Number",
            *numbers("Ours", "Theirs", "Ratio"),
            *("Our 95 % interval", "Reproduced within", "Seen at 80 %", "Verdict"),
            Column("Reason", wide=True),
        ),
        rows,
    )


def _interval_cell(interval: tuple[float, float] | None) -> Cell:
    low = interval and interval[0]
    return number(low, interval_text(interval), missing="")


def verdict_text(comparison: Comparison) -> str:
    """`reproduced`, and `(not firmly)` where our interval crosses the band's edge."""
    doubt = " (not firmly)" if comparison.firm is False else ""
    return f"{comparison.verdict}{doubt}"


def factor_text(comparison: Comparison) -> str:
    """`x3.44 to x6.86`: the smallest difference that would be seen with 80 % power.

    The first if the trials' spread is as seen, the second at its upper bound.
    """
    ends = (comparison.detectable_factor, comparison.detectable_factor_upper)
    return " to ".join(f"x{factor:.3g}" for factor in ends if factor is not None)


def reason_text(comparison: Comparison) -> str:
    """The reason, and marks where our machine was noisy or the audit speaks."""
    marks = [f"ours: {mark}" for mark in comparison.marks]
    audit = sorted({f"audit: {finding.severity}" for finding in comparison.findings})
    return "; ".join([comparison.reason, *marks, *audit])


def not_measured(compared: SetComparison) -> list[str]:
    """A line for each published table and reason: how many of its numbers we lack."""
    missing = Counter(
        (comparison.claim.split("/")[0], comparison.reason)
        for comparison in compared.result.comparisons
        if comparison.ours is None
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


def _differences(compared: SetComparison) -> list[str]:
    total = len(compared.result.measured)
    return [
        f"- {difference_text(difference)} "
        f"({'all' if count == total else f'{count} of {total}'} numbers)"
        for difference, count in compared.shared_differences().items()
    ]


def ratio_tables(result: ComparisonResult) -> tuple[Table, Table]:
    """The hardware-free view: rank order of the models, then every pair of them."""
    orders: list[Row] = []
    pairs: list[Row] = []
    for ratio in result.ratios:
        column = f"{ratio.table}/{ratio.column}"
        alike = sum(pair.within for pair in ratio.pairs)
        orders.append(
            (
                *(column, " > ".join(ratio.ours), " > ".join(ratio.theirs)),
                number(ratio.tau, "{:.2f}".format),
                number(alike, f"{alike} of {len(ratio.pairs)}"),
            )
        )
        for pair in ratio.pairs:
            values = (pair.ours, pair.theirs, pair.ratio)
            cells = [number(value, ratio_text) for value in values]
            word = "yes" if pair.within else "no"
            pairs.append((column, " / ".join(pair.models), *cells, word))
    return (
        Table(
            "Without the hardware: order of the models",
            (
                "Column",
                *(Column(f"{whose} order", wide=True) for whose in ("Our", "Their")),
                *numbers("Kendall's tau", "Pairs alike"),
            ),
            orders,
        ),
        Table(
            "Without the hardware: ratios between models",
            ("Column", "Pair", *numbers("Ours", "Theirs", "Ours / theirs"), "Alike"),
            pairs,
        ),
    )


def published_roofline_table(
    rooflines: Sequence[Roofline | NoRoofline],
    claims: Sequence[Claim],
    *,
    caption: str = "Roofline: published",
    unit: str = "",
) -> Table:
    by_id = {claim.id: claim for claim in claims}
    speeds = [
        (limit, number(by_id[limit.claim].value, speed_text, unit))
        for limit in rooflines
    ]
    return roofline_table(caption, speeds)


def our_roofline_table(rooflines: Sequence[Roofline | NoRoofline]) -> Table:
    speeds = [(limit, our_speed(limit)) for limit in rooflines]
    return roofline_table("Roofline: ours, steady means", speeds)


def our_speed(
    roofline: Roofline | NoRoofline, records: tuple[Reference, ...] = ()
) -> Cell:
    speed = (
        roofline.fraction * roofline.limit if isinstance(roofline, Roofline) else None
    )
    return number(speed, speed_text, "tokens/s", records=records)


def roofline_table(
    caption: str, limits: Sequence[tuple[Roofline | NoRoofline, Cell]]
) -> Table:
    """Each speed beside its limit; those without a limit are counted by reason."""
    reasons = Counter(
        limit.reason for limit, _ in limits if isinstance(limit, NoRoofline)
    )
    rows: list[Row] = []
    for limit, speed in limits:
        if isinstance(limit, Roofline):
            least = "at least " if limit.floor else ""
            unsure = f" ({limit.unsure})" if limit.unsure else ""
            rows.append(
                (
                    *(limit.claim, speed),
                    number(limit.limit, speed_text, "tokens/s"),
                    number(limit.fraction, f"{least}{share_text(limit.fraction)}"),
                    *(limit.peak, f"{limit.arithmetic}{unsure}"),
                )
            )
    rows += [
        (f"{count} numbers", "", "", "no limit", "", reason)
        for reason, count in reasons.items()
    ]
    return Table(
        caption,
        (
            "Number",
            *numbers("tokens/s", "Limit", "Reached"),
            "Bound by",
            Column("Arithmetic", wide=True),
        ),
        rows,
    )
