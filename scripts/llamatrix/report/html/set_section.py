"""A reference set as a section: ours against it, its audit, and all rooflines."""

from collections.abc import Iterator, Sequence

from llamatrix.reference.quantity import RATES
from llamatrix.reference.roofline import NoRoofline, Roofline, rooflines
from llamatrix.reference.verdict import Comparison, ComparisonVerdict
from llamatrix.report.amounts import (
    amount_text,
    interval_text,
    percent_text,
    ratio_text,
    speed_text,
)
from llamatrix.report.evidence import Evidence, TrialEvidence
from llamatrix.report.html.group_section import (
    group_id,
    record_id,
    tiny_warning,
)
from llamatrix.report.html.plots import (
    LimitMark,
    RatioMark,
    Words,
    limit_plot,
    ratio_plot,
)
from llamatrix.report.html.trial_section import trials_id
from llamatrix.report.html.view import Cell, Column, Figure, Section, Table
from llamatrix.report.speed import Group
from llamatrix.report.trial_page import group_words
from llamatrix.report.versus import Versus
from llamatrix.report.versus_tables import (
    MEANS_NOTE,
    all_marks,
    difference_text,
    factor_text,
    not_measured,
    ratio_tables,
    reason_text,
    verdict_text,
)

_UNDECIDED_BAND = (0.9, 1.1)


_Places = Evidence | TrialEvidence


def ours_id(found: Versus) -> str:
    """Of the section of our group."""
    group = found.group
    return group_id(group) if isinstance(group, Group) else trials_id(group)


def ours_title(found: Versus) -> str:
    group = found.group
    return group.title if isinstance(group, Group) else group_words(group)


def set_section(
    found: Versus, ours: Sequence[Roofline | NoRoofline], evidence: _Places
) -> Section:
    key = f"{found.published.name}-{ours_id(found)}"
    group = found.group
    source = found.published.whole.source
    limits = _limit_figure(found, ours, key) if isinstance(group, Group) else ()
    figures = (*_ratio_figure(found, key), *limits)
    return Section(
        id=key,
        title=f"Against {found.published.name}: {ours_title(found)}",
        facts=(
            ("published as", found.published.heading),
            ("grade", str(source.grade)),
            ("verdicts", found.held.summary),
            *((("ours", MEANS_NOTE),) if isinstance(group, Group) else ()),
        ),
        notes=(
            *(f"Audit, {one.text}" for one in found.carried),
            *(f"Not measured: {line[2:]}" for line in not_measured(found)),
        )
        if found.held.comparable
        else (),
        warning=tiny_warning(group) if isinstance(group, Group) else "",
        figures=figures,
        tables=(
            *(
                (_numbers(found, key, evidence), _differences(found, key))
                if found.held.comparable
                else ()
            ),
            *_hardware_free(found, key),
        ),
    )


def _ratio_figure(found: Versus, key: str) -> Iterator[Figure]:
    claims = found.published.by_id
    marks = [
        RatioMark(
            label=one.claim.partition("/")[2],
            ratio=one.ratio,
            interval=one.interval,
            band=one.band or _UNDECIDED_BAND,
            decided=one.verdict
            in {ComparisonVerdict.REPRODUCED, ComparisonVerdict.DIFFERS},
        )
        for one in found.held.measured
        if one.ratio and claims[one.claim].quantity in RATES
    ]
    if marks:
        told = "; ".join(f"{mark.label}: {mark.ratio:.3g}" for mark in marks)
        words = Words(
            id=f"{key}-ratio-plot",
            title=f"Our speeds over those of {found.published.name}",
            description=f"Ratios of ours to published. {told}.",
        )
        yield Figure(
            id=f"{words.id}-figure",
            caption=(
                "Ours against published: ratio, our 95 % interval, and the band that "
                "counts as reproduced. Hollow: not comparable, see the reason below."
            ),
            svg=ratio_plot(marks, words),
        )


def _limit_figure(
    found: Versus, ours: Sequence[Roofline | NoRoofline], key: str
) -> Iterator[Figure]:
    claims = found.published.by_id
    marks = []
    for one in rooflines(found.published.whole, found.published.gpus):
        if isinstance(one, Roofline):
            claim = claims[one.claim]
            row = f"{claim.model} {_kind(claim.quantity == RATES[0])}"
            marks.append(LimitMark(row=row, fraction=one.fraction, ours=False))
    for one in ours:
        if isinstance(one, Roofline):
            model, _, test = one.claim.partition("/")
            row = f"{model} {_kind(test.startswith('pp'))}"
            marks.append(LimitMark(row=row, fraction=one.fraction, ours=True))
    if marks:
        told = "; ".join(
            f"{mark.row}, {'ours' if mark.ours else 'published'}: "
            f"{percent_text(mark.fraction)}"
            for mark in marks
        )
        words = Words(
            id=f"{key}-limit-plot",
            title=f"Share of the physical limit, {found.published.name} and ours",
            description=told,
        )
        yield Figure(
            id=f"{words.id}-figure",
            caption=(
                "Roofline: the share of memory bandwidth (generation) or of the matrix "
                "peak (prefill) that each speed reached."
            ),
            svg=limit_plot(marks, words),
        )


def _kind(is_prefill: bool) -> str:  # noqa: FBT001
    return "prefill" if is_prefill else "generation"


def _numbers(found: Versus, key: str, evidence: _Places) -> Table:
    claims = found.published.by_id
    return Table(
        id=f"{key}-numbers",
        caption="Number by number",
        columns=(
            *(Column(text="Number"), Column(text="Ours", number=True)),
            *(Column(text="Published", number=True), Column(text="Ratio", number=True)),
            *(Column(text="95 % interval"), Column(text="ComparisonVerdict")),
            *(Column(text="Reproduced within"), Column(text="Seen at 80 %")),
            Column(text="Remarks", wide=True),
        ),
        rows=tuple(
            (
                Cell(text=one.claim),
                Cell(
                    text=amount_text(claims[one.claim].quantity, one.ours or 0.0),
                    sort=one.ours,
                    href=_link(one, evidence),
                    hint=f"{len(one.records)} records",
                ),
                Cell(text=claims[one.claim].text, sort=one.theirs),
                Cell(text=ratio_text(one.ratio), sort=one.ratio),
                Cell(text=interval_text(one.interval) or "n/a"),
                Cell(text=verdict_text(one)),
                Cell(text=interval_text(one.band) or "n/a"),
                Cell(text=factor_text(one) or "n/a"),
                Cell(text=_remarks(one)),
            )
            for one in found.held.measured
        ),
    )


def _remarks(one: Comparison) -> str:
    """Why there is no verdict, and the audit's marks; a ratio speaks for itself."""
    decided = one.verdict in {ComparisonVerdict.REPRODUCED, ComparisonVerdict.DIFFERS}
    return "; ".join(all_marks(one)) if decided else reason_text(one)


def _link(one: Comparison, evidence: _Places) -> str:
    line = evidence.by_digest(one.records[0]) if one.records else None
    return f"#{record_id(line)}" if line else ""


def _differences(found: Versus, key: str) -> Table:
    total = len(found.held.measured)
    return Table(
        id=f"{key}-differences",
        caption="Conditions that differ",
        columns=(
            *(Column(text="Condition"), Column(text="Ours; theirs", wide=True)),
            Column(text="Numbers", number=True),
        ),
        rows=tuple(
            (
                Cell(text=difference.condition),
                Cell(text=difference_text(difference).partition(": ")[2]),
                Cell(text=f"{count} of {total}", sort=count),
            )
            for difference, count in found.shared_differences().items()
        ),
        folded=True,
    )


def _hardware_free(found: Versus, key: str) -> Iterator[Table]:
    if not found.held.ratios:
        return
    for number, table in enumerate(ratio_tables(found.held)):
        yield Table(
            id=f"{key}-ratios-{number}",
            caption=table.title,
            columns=tuple(
                Column(text=text, number=column in table.right, wide="order" in text)
                for column, text in enumerate(table.header)
            ),
            rows=tuple(tuple(Cell(text=text) for text in row) for row in table.rows),
        )


def roofline_table(
    key: str, caption: str, found: Sequence[tuple[Roofline, float, str]]
) -> Table:
    """Limit and share of speeds; beside each its value and where it leads."""
    return Table(
        id=key,
        caption=caption,
        columns=(
            *(Column(text="Number"), Column(text="tokens/s", number=True)),
            *(Column(text="Limit", number=True), Column(text="Reached", number=True)),
            *(Column(text="Bound by"), Column(text="Arithmetic", wide=True)),
        ),
        rows=tuple(
            (
                Cell(text=one.claim),
                Cell(text=speed_text(value), sort=value, href=href),
                Cell(text=speed_text(one.limit), sort=one.limit),
                Cell(
                    text=f"{'≥ ' if one.floor else ''}{percent_text(one.fraction)}",
                    sort=one.fraction,
                ),
                Cell(text=one.peak),
                Cell(text=one.arithmetic + (f" ({one.unsure})" if one.unsure else "")),
            )
            for one, value, href in found
        ),
    )
