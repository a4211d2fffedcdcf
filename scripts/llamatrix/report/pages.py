"""Write the derived pages beside the records, as `invoke table` does."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from llamatrix import __version__
from llamatrix.records.store import DamagedLine
from llamatrix.reference.gpu import load_gpus
from llamatrix.reference.roofline import NoRoofline, Roofline, rooflines
from llamatrix.reference.verdict import ComparisonVerdict
from llamatrix.report.files import DATABASE, rows_by_name, texts_of
from llamatrix.report.formats import hundredths, whole
from llamatrix.report.inputs import Published, RecordIndex, read_bandwidth
from llamatrix.report.metrics import GENERATION
from llamatrix.report.our_rooflines import our_rooflines
from llamatrix.report.plots import Palette
from llamatrix.report.render.html import Card, Page, Section, render
from llamatrix.report.render.markdown import markdown, write_page
from llamatrix.report.render.rows import write_sqlite
from llamatrix.report.sections import (
    BADGES,
    context_section,
    group_id,
    ranking_section,
    served_sections,
    set_id,
    set_section,
    slower_section,
    speed_section,
    trial_section,
)
from llamatrix.report.set_comparison import (
    SetComparison,
    compare_group,
    compare_trial_group,
    our_speed,
    published_roofline_table,
    roofline_table,
)
from llamatrix.report.speed import Group
from llamatrix.report.table import (
    Cell,
    Column,
    Reference,
    Row,
    Table,
    count,
    numbers,
)
from llamatrix.report.trials import TrialGroup
from llamatrix.report.view import View
from llamatrix.report.views.answers import answers
from llamatrix.report.views.bisect import bisect_page, search_section
from llamatrix.report.views.choose import Choices, choices, question_of_records
from llamatrix.report.views.drafts import draft_groups
from llamatrix.report.views.regressions import (
    ComparedTask,
    History,
    Regression,
    compared_tasks,
    histories,
    regressions,
)
from llamatrix.report.views.speed import page, speed_cell
from llamatrix.report.views.trial_details import pass_cells
from llamatrix.report.views.trials import (
    count_cell,
    trial_page,
    turn_cell,
)
from llamatrix.units import context_text

_SPEED_FILES = (
    ("All samples as CSV", "speed.csv"),
    ("as JSON", "speed.json"),
    ("tables as Markdown", "speed.md"),
)
_AGENT_FILES = (
    ("All trials as CSV", "trials.csv"),
    ("all turns", "turns.csv"),
    ("tables as Markdown", "agent.md"),
)
_DAMAGED = "Lines that could not be read"


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    found: Choices
    compared: Sequence[Regression]
    tasks: Sequence[ComparedTask]
    pins: Sequence[History]
    sets: Sequence[SetComparison]

    @property
    def cards(self) -> tuple[Card, ...]:
        href = f"#{set_id(self.sets[0])}" if self.sets else ""
        return answers(
            self.found,
            self.compared,
            self.pins,
            self.sets,
            tasks=self.tasks,
            sets_href=href,
        )


def evidence_of(view: View) -> Evidence:
    """Judge all comparisons, for the page and the terminal."""
    groups, trials, names = view.groups, view.trials, view.model_names
    gpus = dict(load_gpus())
    compared = [
        *(
            [compare_group(one, group, view.index, gpus) for one in view.sets]
            for group in groups
        ),
        *(
            [compare_trial_group(one, group, view.index, gpus) for one in view.sets]
            for group in trials
        ),
    ]
    return Evidence(
        found=choices(
            question_of_records(groups, trials, view.contexts),
            models=names,
            groups=groups,
            trials=trials,
            contexts=view.contexts,
            sets=view.sets,
        ),
        compared=regressions(view.runs, names),
        tasks=compared_tasks(view.compared_trials, names),
        pins=histories(groups, view.runs, names),
        sets=[shown for of_group in compared for shown in _worth_showing(of_group)],
    )


def write_pages(view: View, evidence: Evidence, folder: Path) -> list[Path]:
    """`index.html`, and of what there is, speeds or trials, `.md`, `.csv` and `.json`.

    Each table is a CSV file besides, and all rows are in one SQLite file.
    """
    groups, trials, damaged = view.groups, view.trials, view.damaged
    page_text = render(_html_page(view, evidence), sha256_of=_digests(view.index))
    texts = {"index.html": page_text}
    if groups:
        texts["speed.md"] = page(groups) + damaged_text(damaged)
    if trials:
        text = trial_page(trials, view.judge_records)
        texts["agent.md"] = text + damaged_text(damaged)
    if view.searches:
        texts["bisect.md"] = bisect_page(view.searches)
    drafts = draft_groups(view.drafts, current=view.current)
    rows = rows_by_name(groups, trials, drafts)
    texts |= texts_of(rows)
    written = [write_page(folder / name, text) for name, text in texts.items()]
    return [*written, write_sqlite(folder / DATABASE, rows)]


def damaged_text(lines: Sequence[DamagedLine]) -> str:
    """Return the lines as a Markdown table, with a line break before; empty for none."""
    caption = f"{_DAMAGED} (their results are missing from every table)"
    return f"\n{markdown(_damaged(lines, caption))}" if lines else ""


def _damaged(lines: Sequence[DamagedLine], caption: str) -> Table:
    rows = [
        (Cell(value=line.file, href=line.file), count(line.number), line.reason)
        for line in lines
    ]
    return Table(caption, ("File", *numbers("Line"), Column("Reason", wide=True)), rows)


def _digests(index: RecordIndex) -> Callable[[Reference], str]:
    def sha256_of(reference: Reference) -> str:
        return reference if isinstance(reference, str) else index.of(reference).sha256

    return sha256_of


def _html_page(view: View, evidence: Evidence) -> Page:
    """The same records and sets give the same page.

    It answers three questions, ranks the models, and folds all evidence below.
    """
    sections = tuple(_sections(view, evidence))
    used = {badge for section in sections for badge in section.badges}
    groups, trials = view.groups, view.trials
    return Page(
        title="llamatrix: measured here, beside what was published",
        about=(
            "Every number leads to the records it was made of, and every record to its "
            "file, line and digest. Tables sort by a click on their headings."
        ),
        cards=evidence.cards,
        badges={badge: text for badge, text in BADGES.items() if badge in used},
        sections=sections,
        downloads=(
            *(_SPEED_FILES if groups else ()),
            *(_AGENT_FILES if trials else ()),
            *((("everything as SQLite", DATABASE),) if groups or trials else ()),
        ),
        bibtex=_bibtex(_shown_sets(view, evidence)),
    )


def _shown_sets(view: View, evidence: Evidence) -> list[Published]:
    names = {compared.published.name for compared in evidence.sets}
    return [published for published in view.sets if published.name in names]


def _sections(view: View, evidence: Evidence) -> Iterator[Section]:
    groups, trials, gpus = view.groups, view.trials, dict(load_gpus())
    reports, slugs = view.project.reports, view.host_slugs
    palette = Palette(models=view.model_names)
    limits = {
        group_id(group): our_rooflines(
            group, gpus, read_bandwidth(reports, group.host_slug)
        )
        for group in groups
    }

    def host(slug: str) -> str:
        return f", {slug}" if len(slugs) > 1 else ""

    if damaged := view.damaged:
        yield Section(
            id="damaged",
            title=_DAMAGED,
            open=True,
            warning="What these lines held is missing from every table.",
            folded=(_damaged(damaged, f"{_DAMAGED} ({len(damaged)})"),),
        )
    yield ranking_section(evidence.found, palette)
    yield from _summary(groups, trials, evidence.sets)
    if evidence.compared or evidence.tasks or evidence.pins:
        yield slower_section(
            evidence.compared, evidence.tasks, evidence.pins, palette=palette
        )
    yield from map(search_section, view.searches)
    for compared in evidence.sets:
        yield set_section(
            compared,
            limits.get(group_id(compared.group), ()),
            host=host(compared.result.host),
            palette=palette,
        )
    if view.contexts:
        yield context_section(view.contexts, view.index, palette=palette)
    for group in groups:
        slug = host(group.host_slug)
        yield speed_section(group, view.index, gpus, host=slug, palette=palette)
    yield from served_sections(view.drafts, view.index, current=view.current, host=host)
    for trial in trials:
        slug = host(trial.host_slug)
        yield trial_section(trial, view.index, host=slug, palette=palette)
    tables = [
        *(_our_limits(group, limits[group_id(group)]) for group in groups),
        *map(_published_limits, _shown_sets(view, evidence)),
    ]
    if shown := tuple(table for table in tables if table.rows):
        title = "Roofline: what the hardware allows"
        yield Section(id="limits", title=title, tables=shown)


def _bibtex(sets: Iterable[Published]) -> str:
    entries = {
        "@software{llamatrix": {
            "title": "{llamatrix}",
            "author": "{the llamatrix authors}",
            "version": __version__,
        }
    }
    for published in sets:
        source = published.whole.source
        entries[f"@misc{{{published.name}"] = {
            "title": source.title,
            "author": source.author,
            "year": (source.date or "")[:4],
            "howpublished": source.where,
        }
    return "\n\n".join(
        "\n".join(
            [
                f"{head},",
                *(f"  {name} = {{{text}}}," for name, text in fields.items() if text),
                "}",
            ]
        )
        for head, fields in entries.items()
    )


def _worth_showing(comparisons: Sequence[SetComparison]) -> list[SetComparison]:
    """Sets that we reproduce or not; where there is none, the best with most numbers."""
    measured = [compared for compared in comparisons if compared.result.measured]
    decided = [
        compared
        for compared in measured
        if compared.result.count(ComparisonVerdict.REPRODUCED)
        + compared.result.count(ComparisonVerdict.DIFFERS)
    ]
    if decided:
        return decided

    measured.sort(
        key=lambda each: (each.published.whole.source.grade, -len(each.result.measured))
    )
    return measured[:1]


def _summary(
    groups: Sequence[Group],
    trials: Sequence[TrialGroup],
    compared_sets: Sequence[SetComparison],
) -> Iterator[Section]:
    speeds = Table(
        "Speed (tokens/s)",
        (
            "Model",
            *numbers("Generation", "Prefill, shortest", "Prefill, longest"),
            *("Sweep", "Pin / build", "Weights", "Host class"),
        ),
        [row for group in groups for row in _summary_rows(group)],
    )
    agents = Table(
        "Agent",
        (
            "Model",
            *numbers("Passed", "95 % interval (Wilson)"),
            "Correct on turn",
            *numbers("Generation, tokens/s", "Trials"),
            *("Prompt", Column("Setup", wide=True), "Speaks", "Host class"),
        ),
        [row for group in trials for row in _trial_summary_rows(group)],
    )
    facts = tuple(
        (f"{one.published.name} × {one.group.title}", one.result.summary)
        for one in compared_sets
    )
    shown = tuple(table for table in (speeds, agents) if table.rows)
    title = "Everything measured here"
    if shown:
        yield Section(id="summary", title=title, facts=facts, tables=shown)


def _summary_rows(group: Group) -> Iterator[Row]:
    tests = [test for test in group.tests if test.n_depth == group.depths[0]]
    prompts = [test for test in tests if test.n_prompt]
    generations = [test for test in tests if test.n_gen]
    for model in group.models:
        cells: list[Cell] = []
        for tests in (prompts[:1], prompts[-1:], generations[:1]):
            cell = Cell(value=None, missing="not measured")
            for test in tests:
                where = context_text(test.n_prompt) if test.n_prompt else test.name
                result = group.results.get((model, test))
                cell = speed_cell(result, whole if test.n_prompt else hundredths)
                cell = replace(cell, note=", ".join(filter(None, (where, cell.note))))
            cells.append(cell)
        where = f"{group.pin_text} / {group.build}"
        yield (
            model,
            *(cells[-1], *cells[:-1]),
            group.sweep,
            Cell(value=where, href=f"#{group_id(group)}"),
            *(str(group.weights), group.host_slug),
        )


def _trial_summary_rows(group: TrialGroup) -> Iterator[Row]:
    setup = group.setup
    where = f"{setup.agent}, {setup.program}, {group.pin_text} / {setup.build}"
    for (model, prompt), trials in group.by_cell():
        passed, _, interval = pass_cells(trials)
        yield (
            *(model, passed, interval, turn_cell(trials)),
            *(GENERATION.cell(trials), count_cell(trials)),
            prompt,
            Cell(value=where, href=f"#{group_id(group)}"),
            *(group.mark or "the model", setup.host_slug),
        )


def _our_limits(group: Group, limits: Sequence[Roofline | NoRoofline]) -> Table:
    records = {
        f"{cell.model_key}/{test.name}": group.records_of(cell.model_name, test)
        for cell, test in ((record.cell, record.test) for record in group.records)
    }
    speeds = [(limit, our_speed(limit, records[limit.claim])) for limit in limits]
    return roofline_table(f"Ours: {group.title}", speeds)


def _published_limits(published: Published) -> Table:
    return published_roofline_table(
        rooflines(published.whole, published.gpus),
        published.claims,
        caption=f"Published: {published.name}",
        unit="tokens/s",
    )
