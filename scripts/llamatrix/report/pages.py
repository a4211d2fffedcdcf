"""Write the derived pages beside the records, as `invoke table` does."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from llamatrix import __version__
from llamatrix.records.context_record import ContextRecord
from llamatrix.records.judge_record import JudgeRecord
from llamatrix.records.pair_records import ComparedTrials
from llamatrix.records.speed_record import SpeedRecord
from llamatrix.records.store import DamagedLine
from llamatrix.records.trial_record import TrialRecord
from llamatrix.reference.gpu import load_gpus
from llamatrix.reference.roofline import NoRoofline, Roofline, rooflines
from llamatrix.reference.verdict import ComparisonVerdict
from llamatrix.report.files import DATABASE, rows_by_name, texts_of
from llamatrix.report.formats import hundredths, whole
from llamatrix.report.inputs import (
    NO_TRIALS,
    Published,
    RecordIndex,
    SpeedIndex,
    TrialIndex,
    read_bandwidth,
)
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
from llamatrix.report.views.answers import answers
from llamatrix.report.views.bisect import Bisection, bisect_page, search_section
from llamatrix.report.views.choose import Choices, choices, question_of_records
from llamatrix.report.views.drafts import draft_groups
from llamatrix.report.views.regressions import (
    ComparedTask,
    History,
    Regression,
    Run,
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


@dataclass(frozen=True, kw_only=True)
class PageInputs:
    """What the pages are made of; the indexes say where each record stands."""

    groups: Sequence[Group]
    index: SpeedIndex
    models: Mapping[str, str] = field(default_factory=dict)
    """Names by key, in the matrix' order: also the order of the plots' colours."""
    sets: Sequence[Published] = ()
    trials: Sequence[TrialGroup] = ()
    trial_index: TrialIndex = NO_TRIALS
    judge_records: Sequence[JudgeRecord] = ()
    """Shown in `agent.md` alone."""
    contexts: RecordIndex[ContextRecord] = field(
        default_factory=lambda: RecordIndex[ContextRecord](())
    )
    served: SpeedIndex = field(default_factory=lambda: SpeedIndex(()))
    """Of llama-server: drafts, clients at the same time."""
    runs: Sequence[Run] = ()
    """The pairs of `invoke regress`."""
    compared_trials: Sequence[ComparedTrials] = ()
    """What `invoke regress --agent` found."""
    searches: Sequence[Bisection] = ()
    current: frozenset[str] = frozenset()
    """Spec digests of all cells the matrix has now."""
    damaged: Sequence[DamagedLine] = ()
    """Shown on every page."""

    @cached_property
    def evidence(self) -> Evidence:
        """Judge all comparisons: once, for the page and the terminal."""
        return _evidence(self)

    @property
    def names(self) -> dict[str, str]:
        """Return `models`, and what the records have besides."""
        speeds = {
            record.cell.model_key: record.cell.model_name
            for group in self.groups
            for record in group.records
        }
        agents = {
            record.cell.model_key: record.cell.model_name
            for group in self.trials
            for record in group.records
        }
        return {**self.models, **speeds, **agents}


def write_pages(inputs: PageInputs, reports: Path) -> list[Path]:
    """`index.html`, and of what there is, speeds or trials, `.md`, `.csv` and `.json`.

    Each table is a CSV file besides, and all rows are in one SQLite file. The records
    stand below `reports`; the page holds speeds against the sets.
    """
    groups, trials, damaged = inputs.groups, inputs.trials, inputs.damaged
    page_text = render(_html_page(inputs, reports), sha256_of=_digests(inputs))
    texts = {"index.html": page_text}
    if groups:
        texts["speed.md"] = page(groups) + damaged_text(damaged)
    if trials:
        text = trial_page(trials, inputs.judge_records)
        texts["agent.md"] = text + damaged_text(damaged)
    if inputs.searches:
        texts["bisect.md"] = bisect_page(inputs.searches)
    rows = rows_by_name(
        groups, trials, draft_groups(inputs.served.records, current=inputs.current)
    )
    texts |= texts_of(rows)
    written = [write_page(reports / name, text) for name, text in texts.items()]
    return [*written, write_sqlite(reports / DATABASE, rows)]


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


def _digests(inputs: PageInputs) -> Callable[[Reference], str]:
    served = set(map(id, inputs.served.records))

    def sha256_of(reference: Reference) -> str:
        match reference:
            case SpeedRecord():
                index = inputs.served if id(reference) in served else inputs.index
                return index.of(reference).sha256
            case TrialRecord():
                return inputs.trial_index.of(reference).sha256
            case ContextRecord():
                return inputs.contexts.of(reference).sha256
            case str():
                return reference
            case _:
                raise TypeError(reference)

    return sha256_of


def _evidence(inputs: PageInputs) -> Evidence:
    groups, trials, sets = inputs.groups, inputs.trials, inputs.sets
    gpus = dict(load_gpus())
    compared = [
        *(
            [compare_group(one, group, inputs.index, gpus) for one in sets]
            for group in groups
        ),
        *(
            [compare_trial_group(one, group, inputs.trial_index, gpus) for one in sets]
            for group in trials
        ),
    ]
    contexts, names = inputs.contexts.records, inputs.names
    found = choices(
        question_of_records(groups, trials, contexts),
        models=names,
        groups=groups,
        trials=trials,
        contexts=contexts,
        sets=sets,
    )
    return Evidence(
        found=found,
        compared=regressions(inputs.runs, names),
        tasks=compared_tasks(inputs.compared_trials, names),
        pins=histories(groups, inputs.runs, names),
        sets=[shown for of_group in compared for shown in _worth_showing(of_group)],
    )


def _html_page(inputs: PageInputs, reports: Path) -> Page:
    """The same records and sets give the same page.

    It answers three questions, ranks the models, and folds all evidence below.
    """
    evidence = inputs.evidence
    sections = tuple(_sections(inputs, evidence, reports))
    used = {badge for section in sections for badge in section.badges}
    groups, trials = inputs.groups, inputs.trials
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
        bibtex=_bibtex(_shown_sets(inputs, evidence)),
    )


def _shown_sets(inputs: PageInputs, evidence: Evidence) -> list[Published]:
    names = {compared.published.name for compared in evidence.sets}
    return [published for published in inputs.sets if published.name in names]


def _sections(
    inputs: PageInputs, evidence: Evidence, reports: Path
) -> Iterator[Section]:
    groups, trials, gpus = inputs.groups, inputs.trials, dict(load_gpus())
    palette = Palette(models=inputs.names)
    limits = {
        group_id(group): our_rooflines(
            group, gpus, read_bandwidth(reports, group.host_slug)
        )
        for group in groups
    }
    slugs = {group.host_slug for group in groups}
    slugs |= {group.host_slug for group in trials}

    def host(slug: str) -> str:
        return f", {slug}" if len(slugs) > 1 else ""

    if damaged := inputs.damaged:
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
    yield from map(search_section, inputs.searches)
    for compared in evidence.sets:
        yield set_section(
            compared,
            limits.get(group_id(compared.group), ()),
            host=host(compared.result.host),
            palette=palette,
        )
    if inputs.contexts.records:
        yield context_section(inputs.contexts, palette=palette)
    for group in groups:
        slug = host(group.host_slug)
        yield speed_section(group, inputs.index, gpus, host=slug, palette=palette)
    yield from served_sections(inputs.served, current=inputs.current, host=host)
    for trial in trials:
        slug = host(trial.host_slug)
        yield trial_section(trial, inputs.trial_index, host=slug, palette=palette)
    tables = [
        *(_our_limits(group, limits[group_id(group)]) for group in groups),
        *map(_published_limits, _shown_sets(inputs, evidence)),
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
