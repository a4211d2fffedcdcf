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
from llamatrix.reference.verdict import Comparison, ComparisonVerdict, Difference
from llamatrix.report.formats import (
    amount_text,
    interval_text,
    ratio_text,
    share_text,
    speed_text,
)
from llamatrix.report.inputs import Published, SpeedIndex, TrialIndex
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
        """Those for which we have a number."""
        return tuple(
            comparison for comparison in self.comparisons if comparison.ours is not None
        )

    def count(self, verdict: ComparisonVerdict) -> int:
        return sum(comparison.verdict is verdict for comparison in self.comparisons)

    @property
    def comparable(self) -> bool:
        """Whether at least one number could be held against the published one."""
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
    published: Published, group: Group, index: SpeedIndex, gpus: Mapping[str, Gpu]
) -> SetComparison:
    ours = our_numbers(published.claims, group, index, gpus)
    return SetComparison(
        published=published,
        group=group,
        result=ComparisonResult(
            host=group.host_slug,
            weights=group.weights.value,
            pin=group.pin_text,
            build=group.build,
            sweep=group.sweep,
            comparisons=compare(published.claims, ours, findings=published.findings),
            ratios=model_ratios(published.claims, ours, findings=published.findings),
        ),
    )


def compare_trial_group(
    published: Published,
    group: TrialGroup,
    index: TrialIndex,
    gpus: Mapping[str, Gpu],
) -> SetComparison:
    """The same of an agent's trials."""
    ours = our_trial_numbers(published.claims, group, index, gpus)
    setup = group.setup
    return SetComparison(
        published=published,
        group=group,
        result=ComparisonResult(
            host=setup.host_slug,
            weights=setup.weights.value,
            pin=group.pin_text,
            build=setup.build,
            sweep="",
            trials=setup.words,
            comparisons=compare(published.claims, ours, findings=published.findings),
            ratios=model_ratios(published.claims, ours, findings=published.findings),
        ),
    )


MEANS_NOTE = (
    "speeds here are llama-bench's own means, first repetition included, as the published "
    "ones are; the speed tables show steady means"
)


def set_comparison_text(compared: SetComparison) -> str:
    """One group against one set, as Markdown."""
    parts = [
        f"## {compared.result.host}: {_group_text(compared.result)}",
        *warning_of(compared.result),
        f"{compared.result.summary}.",
    ]
    if compared.result.comparable:
        parts.append(markdown(numbers_table(compared)).rstrip())
        if isinstance(compared.group, Group):
            parts.append(f"Ours: {MEANS_NOTE}.")
        parts += [
            "\n".join(lines)
            for lines in (
                ["Not measured:", *not_measured(compared)],
                ["Conditions that differ (ours; theirs):", *_differences(compared)],
                [
                    "What the audit says:",
                    *(f"- {problem.text}" for problem in compared.carried),
                ],
            )
            if len(lines) > 1
        ]
    if compared.result.ratios:
        parts += [markdown(table).rstrip() for table in ratio_tables(compared.result)]
    return "\n\n".join(parts) + "\n"


def warning_of(result: ComparisonResult) -> tuple[str, ...]:
    """Return the box of a page about synthetic weights; none for others."""
    lines = warning_box(synthetic_warning(WeightsKind(result.weights)))
    return ("\n".join(lines).rstrip(),) if lines else ()


def _group_text(result: ComparisonResult) -> str:
    what = result.trials or f"{result.sweep} sweep"
    return f"{what}, pin {result.pin}, build {result.build}, {result.weights} weights"


def numbers_table(compared: SetComparison) -> Table:
    claims = compared.published.by_id
    return Table(
        caption=f"Ours against {compared.published.name}",
        columns=(
            "Number",
            *numbers("Ours", "Theirs", "Ratio"),
            *("Our 95 % interval", "Reproduced within", "Seen at 80 %", "Verdict"),
            Column("Reason", wide=True),
        ),
        rows=tuple(
            (
                comparison.claim,
                number(
                    comparison.ours or 0.0,
                    amount_text(
                        claims[comparison.claim].quantity, comparison.ours or 0.0
                    ),
                    records=comparison.records,
                ),
                number(comparison.theirs, claims[comparison.claim].text),
                number(comparison.ratio, ratio_text),
                _interval_cell(comparison.interval),
                _interval_cell(comparison.band),
                factor_text(comparison),
                verdict_text(comparison),
                reason_text(comparison),
            )
            for comparison in compared.result.measured
        ),
    )


def _interval_cell(interval: tuple[float, float] | None) -> Cell:
    """Sorted by the lower end."""
    low = interval and interval[0]
    return number(low, interval_text(interval), missing="")


def verdict_text(comparison: Comparison) -> str:
    """`reproduced`, and `(not firmly)` where our interval crosses the band's edge."""
    return (
        f"{comparison.verdict} (not firmly)"
        if comparison.firm is False
        else str(comparison.verdict)
    )


def factor_text(comparison: Comparison) -> str:
    """`x3.44 to x6.86`: the smallest difference that would be seen with 80 % power.

    The first if the trials' spread is as seen, the second at its upper bound.
    """
    ends = (comparison.detectable_factor, comparison.detectable_factor_upper)
    return " to ".join(f"x{factor:.3g}" for factor in ends if factor is not None)


def reason_text(comparison: Comparison) -> str:
    """The reason, and marks where our machine was noisy or the audit speaks."""
    return "; ".join([comparison.reason, *all_marks(comparison)])


def all_marks(comparison: Comparison) -> list[str]:
    audit = sorted({f"audit: {finding.severity}" for finding in comparison.findings})
    return [*(f"ours: {mark}" for mark in comparison.marks), *audit]


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


def _differences(compared: SetComparison) -> Iterator[str]:
    total = len(compared.result.measured)
    for difference, count in compared.shared_differences().items():
        whole = "all" if count == total else f"{count} of {total}"
        yield f"- {difference_text(difference)} ({whole} numbers)"


def ratio_tables(result: ComparisonResult) -> tuple[Table, Table]:
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
                f"{ratio.table}/{ratio.column}",
                " > ".join(ratio.ours),
                " > ".join(ratio.theirs),
                number(ratio.tau, "{:.2f}".format),
                number(
                    alike := sum(pair.within for pair in ratio.pairs),
                    f"{alike} of {len(ratio.pairs)}",
                ),
            )
            for ratio in result.ratios
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
                f"{item.table}/{item.column}",
                " / ".join(pair.models),
                *(
                    number(ratio, ratio_text)
                    for ratio in (pair.ours, pair.theirs, pair.ratio)
                ),
                "yes" if pair.within else "no",
            )
            for item in result.ratios
            for pair in item.pairs
        ),
    )
    return orders, pairs


def published_roofline_table(
    rooflines: Sequence[Roofline | NoRoofline], claims: Sequence[Claim]
) -> Table:
    by_id = {claim.id: claim for claim in claims}
    return roofline_table(
        "Roofline: published",
        [
            (problem, number(by_id[problem.claim].value, speed_text))
            for problem in rooflines
        ],
    )


def our_roofline_table(rooflines: Sequence[Roofline | NoRoofline]) -> Table:
    return roofline_table(
        "Roofline: ours, steady means",
        [(roofline, our_speed(roofline)) for roofline in rooflines],
    )


def our_speed(
    roofline: Roofline | NoRoofline, records: tuple[Reference, ...] = ()
) -> Cell:
    """The speed that a limit was calculated for."""
    speed = (
        roofline.fraction * roofline.limit if isinstance(roofline, Roofline) else None
    )
    return number(speed, speed_text, "tokens/s", records=records)


def roofline_table(
    caption: str, limits: Sequence[tuple[Roofline | NoRoofline, Cell]]
) -> Table:
    """Each speed beside its limit; those without a limit are counted by reason."""
    reasons = Counter(
        roofline.reason for roofline, _ in limits if isinstance(roofline, NoRoofline)
    )
    rows: list[Row] = [
        (
            comparison.claim,
            speed,
            number(comparison.limit, speed_text, "tokens/s"),
            number(
                comparison.fraction,
                f"{'at least ' if comparison.floor else ''}{share_text(comparison.fraction)}",
            ),
            comparison.peak,
            comparison.arithmetic
            + (f" ({comparison.unsure})" if comparison.unsure else ""),
        )
        for comparison, speed in limits
        if isinstance(comparison, Roofline)
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
