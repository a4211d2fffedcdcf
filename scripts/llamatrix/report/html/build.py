"""All sections of the page, from records and reference sets."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from llamatrix.config.cell import SpeedTest
from llamatrix.measure.stream import Bandwidth
from llamatrix.records.store import DamagedLine
from llamatrix.reference.gpu import load_gpus
from llamatrix.reference.roofline import NoRoofline, Roofline, rooflines
from llamatrix.reference.verdict import ComparisonVerdict
from llamatrix.report.damaged import TITLE
from llamatrix.report.evidence import NO_TRIALS, Evidence, TrialEvidence
from llamatrix.report.html.group_section import (
    group_id,
    group_section,
    record_id,
    result_cell,
)
from llamatrix.report.html.set_section import (
    ours_id,
    ours_title,
    roofline_table,
    set_section,
)
from llamatrix.report.html.trial_section import trial_section
from llamatrix.report.html.trial_summary import trial_summary
from llamatrix.report.html.view import Cell, Column, Page, Section, Table
from llamatrix.report.our_rooflines import our_rooflines
from llamatrix.report.published import Published
from llamatrix.report.speed import Group
from llamatrix.report.trials import TrialGroup
from llamatrix.report.versus import Versus, trials_versus, versus
from llamatrix.units import context_text

_Limits = tuple[Roofline | NoRoofline, ...]
_SPEED_FILES = (
    ("All samples as CSV", "speed.csv"),
    ("as JSON", "speed.json"),
    ("tables as Markdown", "speed.md"),
)
_AGENT_FILES = (
    ("All turns as CSV", "agent.csv"),
    ("as JSON", "agent.json"),
    ("tables as Markdown", "agent.md"),
)


def build_page(
    groups: Sequence[Group],
    evidence: Evidence,
    sets: Sequence[Published],
    bandwidths: Mapping[str, Bandwidth | None],
    *,
    trials: Sequence[TrialGroup] = (),
    trial_evidence: TrialEvidence = NO_TRIALS,
    damaged: Sequence[DamagedLine] = (),
) -> Page:
    """`bandwidths` by host slug. The same records and sets give the same page."""
    gpus = dict(load_gpus())
    limits = {
        group_id(group): our_rooflines(group, gpus, bandwidths.get(group.host_slug))
        for group in groups
    }
    held = [
        one
        for group in groups
        for one in _worth_showing(
            [versus(published, group, evidence, gpus) for published in sets]
        )
    ]
    held_trials = [
        one
        for group in trials
        for one in _worth_showing(
            [
                trials_versus(published, group, trial_evidence, gpus)
                for published in sets
            ]
        )
    ]
    shown = list(dict.fromkeys(one.published.name for one in held))
    return Page(
        title="llamatrix: measured here, beside what was published",
        about=(
            "Every number leads to the record it was made of, and every record to its "
            "file, line and digest. Tables sort by a click on their headings."
        ),
        sections=(
            _summary(
                groups,
                [*held, *held_trials],
                evidence,
                trial_summary(trials, trial_evidence),
            ),
            *_damaged_section(damaged),
            *(group_section(group, evidence, gpus) for group in groups),
            *(set_section(one, limits[ours_id(one)], evidence) for one in held),
            *(trial_section(group, trial_evidence) for group in trials),
            *(set_section(one, (), trial_evidence) for one in held_trials),
            *_limits_section(
                groups,
                evidence,
                limits,
                [published for published in sets if published.name in shown],
            ),
        ),
        downloads=(_SPEED_FILES if groups else ()) + (_AGENT_FILES if trials else ()),
    )


def _damaged_section(lines: Sequence[DamagedLine]) -> tuple[Section, ...]:
    if not lines:
        return ()
    rows = tuple(
        (
            Cell(text=line.file, href=line.file),
            Cell(text=str(line.number)),
            Cell(text=line.reason),
        )
        for line in lines
    )
    return (
        Section(
            id="damaged",
            title=TITLE,
            warning="What these lines held is missing from every table.",
            tables=(
                Table(
                    id="damaged-lines",
                    caption=f"{TITLE} ({len(rows)})",
                    columns=(
                        Column(text="File"),
                        Column(text="Line", number=True),
                        Column(text="Reason", wide=True),
                    ),
                    rows=rows,
                ),
            ),
        ),
    )


def _worth_showing(found: Sequence[Versus]) -> list[Versus]:
    """Sets that we reproduce or not; where there is none, the best with most numbers."""
    measured = [one for one in found if one.held.measured]
    decided = [
        one
        for one in measured
        if one.held.count(ComparisonVerdict.REPRODUCED)
        + one.held.count(ComparisonVerdict.DIFFERS)
    ]
    if decided:
        return decided

    def order(one: Versus) -> tuple[str, int]:
        return one.published.whole.source.grade, -len(one.held.measured)

    return sorted(measured, key=order)[:1]


def _summary(
    groups: Sequence[Group],
    held: Sequence[Versus],
    evidence: Evidence,
    of_trials: tuple[Table, ...],
) -> Section:
    rows = [row for group in groups for row in _summary_rows(group, evidence)]
    return Section(
        id="summary",
        title="Summary",
        facts=tuple(
            (f"{one.published.name} × {ours_title(one)}", one.held.summary)
            for one in held
        ),
        tables=(*((_speeds(rows),) if rows else ()), *of_trials),
    )


def _speeds(rows: Sequence[tuple[Cell, ...]]) -> Table:
    return Table(
        id="summary-table",
        caption="Speed, tokens/s",
        columns=(
            *(Column(text="Model"), Column(text="Weights")),
            Column(text="Pin / build"),
            Column(text="Prefill, shortest", number=True),
            Column(text="Prefill, longest", number=True),
            Column(text="Generation", number=True),
            Column(text="Host class"),
        ),
        rows=tuple(rows),
    )


def _summary_rows(group: Group, evidence: Evidence) -> Iterator[tuple[Cell, ...]]:
    prompts = [test for test in group.tests if test.n_prompt]
    generations = [test for test in group.tests if test.n_gen]
    for model in group.models:
        yield (
            Cell(text=model),
            Cell(text=str(group.weights)),
            Cell(text=f"{group.pin} / {group.build}", href=f"#{group_id(group)}"),
            _at(group, model, prompts[:1], evidence),
            _at(group, model, prompts[-1:], evidence),
            _at(group, model, generations[:1], evidence),
            Cell(text=group.host_slug),
        )


def _at(
    group: Group, model: str, tests: Sequence[SpeedTest], evidence: Evidence
) -> Cell:
    if not tests:
        return Cell(text="not measured")
    (test,) = tests
    cell = result_cell(group, model, test, evidence, 0 if test.n_prompt else 2)
    where = context_text(test.n_prompt) if test.n_prompt else test.name
    return Cell(
        text=f"{cell.text} ({where})", sort=cell.sort, href=cell.href, hint=cell.hint
    )


def _limits_section(
    groups: Sequence[Group],
    evidence: Evidence,
    limits: Mapping[str, _Limits],
    sets: Sequence[Published],
) -> tuple[Section, ...]:
    notes = []
    tables = []
    for group in groups:
        found = limits[group_id(group)]
        rows = [
            (one, one.fraction * one.limit, _record_link(group, one, evidence))
            for one in found
            if isinstance(one, Roofline)
        ]
        if rows:
            key = f"limits-{group_id(group)}"
            tables.append(roofline_table(key, f"Ours: {group.title}", rows))
        notes += [f"Ours, {group.title}: {line}" for line in _without_limit(found)]
    for published in sets:
        claims = published.by_id
        listed = rooflines(published.whole, published.gpus)
        rows = [
            (one, claims[one.claim].value, "")
            for one in listed
            if isinstance(one, Roofline)
        ]
        if rows:
            key = f"limits-{published.name}"
            tables.append(roofline_table(key, f"Published: {published.name}", rows))
        notes += [f"{published.name}: {line}" for line in _without_limit(listed)]
    if not tables and not notes:
        return ()
    return (
        Section(
            id="limits",
            title="Roofline: what the hardware allows",
            notes=tuple(notes),
            tables=tuple(tables),
        ),
    )


def _without_limit(found: _Limits) -> list[str]:
    reasons = Counter(one.reason for one in found if isinstance(one, NoRoofline))
    return [f"no limit for {count} speeds: {why}" for why, count in reasons.items()]


def _record_link(group: Group, one: Roofline, evidence: Evidence) -> str:
    model, _, test = one.claim.partition("/")
    for record in group.records:
        if (record.cell.model_key, record.test.name) == (model, test):
            return f"#{record_id(evidence.of(record))}"
    return ""
