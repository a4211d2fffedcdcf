"""The agent page: what a reader must know before a number, then the published tables."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from llamatrix.config.matrix import WeightsKind
from llamatrix.records.judge_record import JudgeRecord
from llamatrix.report.metrics import (
    API_CALLS,
    GENERATED_TOKENS,
    GENERATION,
    PREFILL,
    RESULTS,
    TOOL_CALLS,
    memory_cell,
    served_argv,
)
from llamatrix.report.render.markdown import markdown, warning_box
from llamatrix.report.speed import KIND_NOTES, synthetic_warning
from llamatrix.report.table import Cell, Column, Row, Table, number, numbers
from llamatrix.report.trials import (
    SCRIPTED,
    TrialGroup,
    Trials,
    prompt_short,
    prompt_title,
)
from llamatrix.report.views.quality import (
    judge_tables,
    quality_cell,
    quality_table,
    tdd_cell,
)
from llamatrix.report.views.trial_details import detail_tables
from llamatrix.report.views.troubles import trouble_tables
from llamatrix.units import bytes_text

_FIRST, _SECOND = "httpx-post", "gemini-images"
"""Of the Quick Summary: speeds are of the first prompt, the turn of the second."""


def trial_page(
    groups: Iterable[TrialGroup], judge_records: Sequence[JudgeRecord] = ()
) -> str:
    """All groups as one Markdown page, empty without any; same groups, same bytes.

    What models think of a group's work stands behind all that was measured.
    """
    parts = []
    for group in groups:
        facts = (f"- {term}: {text}" for term, text in trial_facts(group).items())
        caveat = (
            f"{group.caveat[0].upper()}{group.caveat[1:]}. " if group.caveat else ""
        )
        warning = f"{caveat}{synthetic_warning(group.setup.weights)}".strip()
        parts += [f"## Agent: {group.title}", "", *warning_box(warning), *facts, ""]
        tables = (*trial_tables(group), *judge_tables(group, judge_records))
        parts += map(markdown, tables)
    return "\n".join(["# Agent\n", *parts]) if parts else ""


def trial_tables(group: TrialGroup) -> tuple[Table, ...]:
    """In the published order, then ours, then what went wrong."""
    return (*published_tables(group), *detail_tables(group), *trouble_tables(group))


def trial_facts(group: TrialGroup) -> dict[str, str]:
    """Who answered, with which engine, agent, network, weights and server."""
    record, setup = group.records[0], group.setup
    build = f"{setup.build} build by {record.build.compiler}"
    speaks = "the model itself"
    if setup.scripted:
        names = {record.cell.script for record in group.records if record.cell.script}
        speaks = f"{SCRIPTED}; transcripts: {', '.join(sorted(names))}"
    uv = ", ".join(sorted({record.uv for record in group.records}))
    programs = f"{setup.program}, Context7 {setup.context7}, uv {uv}"
    where = f"`records/{setup.host_slug}/agent/`"
    servers = (" ".join(served_argv(record)) for record in group.records)
    # Others differ in their model's own flags.
    first = next((line for line in servers if line), "")
    return {
        "speaks": speaks,
        "engine": record.build.source_note
        if setup.weights is WeightsKind.ENDPOINT
        else f"llama.cpp {record.build.commit[:9]} ({build})",
        "agent": f"{programs}, network {setup.network}",
        "weights": KIND_NOTES[setup.weights],
        "host": record.host.summary,
        "measured": f"{group.days}, {len(group.records)} trials in {where}",
        "server": f"`{first}`" if first else "none was started",
    }


def published_tables(group: TrialGroup) -> tuple[Table, ...]:
    judged = [
        task
        for task in group.tasks
        if any(key[1] == task and trial.finished for key, trial in group.trials.items())
    ]
    return (
        *(_results(group, model) for model in group.models),
        *(_speed(group), _efficiency(group), _hardware_fit(group)),
        *(quality_table(group, task) for task in judged),
        _quick_summary(group),
    )


def turn_cell(trials: Trials | None) -> Cell:
    if trials is None:
        return Cell(value=None, missing="not measured")
    turns = [turn for turn in trials.turns if turn is not None]
    if len(turns) == len(trials.finished) == 1:
        return number(turns[0], trials.turn_text, records=trials.finished)
    return Cell(value=trials.turn_text, records=trials.finished)


def count_cell(trials: Trials | None) -> Cell:
    if trials is None:
        return number(0, "0")
    return number(len(trials.finished), trials.count_text, records=trials.records)


def _results(group: TrialGroup, model: str) -> Table:
    cells = [group.trials.get((model, task)) for task in group.tasks]
    rows: list[Row] = [(metric.name, *map(metric.cell, cells)) for metric in RESULTS]
    rows.append(("Correct on turn", *map(turn_cell, cells)))
    rows.append(("Trials; amounts are medians", *map(count_cell, cells)))
    caption = group.caption(f"Results: {group.shown_name(model)}")
    return Table(caption, ("Metric", *numbers(*map(prompt_title, group.tasks))), rows)


_OfModel = Callable[[str], Cell | str]
_OfTrials = Callable[[Trials | None], Cell]
_CONTEXT = Column("Context served", number=True)


def _by_model(
    caption: str, group: TrialGroup, columns: Mapping[Column | str, _OfModel]
) -> Table:
    return Table(
        caption,
        ("Model", *columns),
        [
            (group.shown_name(model), *(cell(model) for cell in columns.values()))
            for model in group.models
        ],
    )


def _of_task(group: TrialGroup, cell: _OfTrials, task: str) -> _OfModel:
    return lambda model: cell(group.trials.get((model, task)))


def _of_tasks(
    group: TrialGroup, name: str, cell: _OfTrials, tasks: Sequence[str]
) -> dict[Column | str, _OfModel]:
    return {
        Column(f"{name} ({prompt_short(task)})", number=True): _of_task(
            group, cell, task
        )
        for task in tasks
    }


def _counts(group: TrialGroup) -> dict[Column | str, _OfModel]:
    """Return the last column: of how many trials each task is."""
    tasks = ", ".join(map(prompt_short, group.tasks))
    return {
        f"Trials ({tasks})": lambda model: ", ".join(
            count_cell(group.trials.get((model, task))).text for task in group.tasks
        )
    }


def _speed(group: TrialGroup) -> Table:
    columns = {
        **_of_tasks(group, "Prefill tok/s", PREFILL.cell, group.tasks),
        **_of_tasks(group, "Gen tok/s", GENERATION.cell, group.tasks),
        **_counts(group),
    }
    return _by_model(group.caption("Speed"), group, columns)


def _efficiency(group: TrialGroup) -> Table:
    """Tool calls and the turn are, as published, of all but the first prompt."""
    every, later = group.tasks, group.tasks[1:]
    columns: dict[Column | str, _OfModel] = {
        **_of_tasks(group, "Tokens Gen", GENERATED_TOKENS.cell, every),
        **_of_tasks(group, "API Calls", API_CALLS.cell, every),
        **_of_tasks(group, "Tool Calls", TOOL_CALLS.cell, later),
        **{
            f"Correct Turn ({prompt_short(task)})": _of_task(group, turn_cell, task)
            for task in later
        },
        **_counts(group),
    }
    return _by_model(group.caption("Efficiency and Completion"), group, columns)


def _hardware_fit(group: TrialGroup) -> Table:
    cards = group.records[0].host.gpus
    names = [f"{card.name} {bytes_text(card.memory_bytes)}" for card in cards]
    memory = Column("VRAM Usage" if cards else "Memory", number=True)
    caption = group.caption("Hardware Fit", ", ".join(names) or "no GPU")
    return _by_model(caption, group, _fit_columns(group, memory))


def _fit_columns(group: TrialGroup, memory: Column) -> dict[Column | str, _OfModel]:
    def held(model: str) -> Cell:
        return memory_cell(
            record
            for (name, _), trials in group.trials.items()
            if name == model
            for record in trials.finished
        )

    def served(model: str) -> Cell:
        records = tuple(
            record for record in group.records if record.cell.model_name == model
        )
        sizes = sorted({record.cell.context_tokens for record in records})
        text = " / ".join(f"{size:,}" for size in sizes)
        return number(max(sizes), text, "tokens", records=records)

    return {memory: held, _CONTEXT: served}


def _quick_summary(group: TrialGroup) -> Table:
    columns: dict[Column | str, _OfModel] = {
        Column("Gen tok/s (P1)", number=True): _of_task(group, GENERATION.cell, _FIRST),
        "Turn(correct) (P2)": _of_task(group, turn_cell, _SECOND),
        "Code Quality (P2)": _of_task(group, quality_cell, _SECOND),
        "TDD order (P2)": _of_task(group, tdd_cell, _SECOND),
        **_fit_columns(group, Column("VRAM or memory", number=True)),
    }
    return _by_model(group.caption("Quick Summary"), group, columns)
