"""The agent page: what a reader must know before a number, then the published tables."""

from collections.abc import Iterable, Sequence

from llamatrix.config.matrix import WeightsKind
from llamatrix.records.judge_record import JudgeRecord
from llamatrix.report.metrics import (
    API_CALLS,
    GENERATED_TOKENS,
    GENERATION,
    PREFILL,
    RESULTS,
    TOOL_CALLS,
    Metric,
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
    parts = ["# Agent\n"]
    for group in groups:
        parts.append(_heading(group))
        tables = (*trial_tables(group), *judge_tables(group, judge_records))
        parts += map(markdown, tables)
    return "\n".join(parts) if len(parts) > 1 else ""


def trial_tables(group: TrialGroup) -> tuple[Table, ...]:
    """In the published order, then ours, then what went wrong."""
    return (*published_tables(group), *detail_tables(group), *trouble_tables(group))


def trial_facts(group: TrialGroup) -> dict[str, str]:
    """Who answered, with which engine, agent, network, weights and server."""
    record, setup = group.records[0], group.setup
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
        else (
            f"llama.cpp {record.build.commit[:9]} "
            f"({setup.build} build by {record.build.compiler})"
        ),
        "agent": f"{programs}, network {setup.network}",
        "weights": KIND_NOTES[setup.weights],
        "host": record.host.summary,
        "measured": f"{group.days}, {len(group.records)} trials in {where}",
        "server": f"`{first}`" if first else "none was started",
    }


def _heading(group: TrialGroup) -> str:
    facts = (f"- {term}: {text}" for term, text in trial_facts(group).items())
    caveat = f"{group.caveat[0].upper()}{group.caveat[1:]}. " if group.caveat else ""
    warning = warning_box(f"{caveat}{synthetic_warning(group.setup.weights)}".strip())
    return "\n".join([f"## Agent: {group.title}", "", *warning, *facts, ""])


def published_tables(group: TrialGroup) -> tuple[Table, ...]:
    return (
        *(_results(group, model) for model in group.models),
        _speed(group),
        _efficiency(group),
        _hardware_fit(group),
        *(
            quality_table(group, task)
            for task in group.tasks
            if any(
                key[1] == task and trial.finished for key, trial in group.trials.items()
            )
        ),
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
    """How many trials the metrics are of."""
    if trials is None:
        return number(0, "0")
    return number(len(trials.finished), trials.count_text, records=trials.records)


def _results(group: TrialGroup, model: str) -> Table:
    cells = [group.trials.get((model, task)) for task in group.tasks]
    rows: list[Row] = [(metric.name, *map(metric.cell, cells)) for metric in RESULTS]
    rows.append(("Correct on turn", *map(turn_cell, cells)))
    rows.append(("Trials; amounts are medians", *map(count_cell, cells)))
    return Table(
        caption=group.caption(f"Results: {group.shown_name(model)}"),
        columns=("Metric", *numbers(*map(prompt_title, group.tasks))),
        rows=tuple(rows),
    )


def _speed(group: TrialGroup) -> Table:
    columns = [("Prefill tok/s", PREFILL), ("Gen tok/s", GENERATION)]
    return _by_model(
        "Speed",
        group,
        [(name, metric, task) for name, metric in columns for task in group.tasks],
    )


def _efficiency(group: TrialGroup) -> Table:
    """Tool calls and the turn are, as published, of all but the first prompt."""
    every, later = group.tasks, group.tasks[1:]
    return _by_model(
        "Efficiency and Completion",
        group,
        [
            *(("Tokens Gen", GENERATED_TOKENS, task) for task in every),
            *(("API Calls", API_CALLS, task) for task in every),
            *(("Tool Calls", TOOL_CALLS, task) for task in later),
        ],
        turns_of=later,
    )


def _by_model(
    name: str,
    group: TrialGroup,
    columns: Sequence[tuple[str, Metric, str]],
    *,
    turns_of: Sequence[str] = (),
) -> Table:
    """A row for each model; the last column says of how many trials."""
    tasks = ", ".join(map(prompt_short, group.tasks))
    return Table(
        caption=group.caption(name),
        columns=(
            "Model",
            *numbers(*(f"{text} ({prompt_short(task)})" for text, _, task in columns)),
            *(f"Correct Turn ({prompt_short(task)})" for task in turns_of),
            f"Trials ({tasks})",
        ),
        rows=tuple(
            (
                group.shown_name(model),
                *(
                    metric.cell(group.trials.get((model, t)))
                    for _, metric, t in columns
                ),
                *(turn_cell(group.trials.get((model, task))) for task in turns_of),
                ", ".join(
                    count_cell(group.trials.get((model, task))).text
                    for task in group.tasks
                ),
            )
            for model in group.models
        ),
    )


def _hardware_fit(group: TrialGroup) -> Table:
    cards = group.records[0].host.gpus
    names = [f"{card.name} {bytes_text(card.memory_bytes)}" for card in cards]
    return Table(
        caption=group.caption("Hardware Fit", ", ".join(names) or "no GPU"),
        columns=("Model", *numbers("VRAM Usage" if cards else "Memory"), _CONTEXT),
        rows=tuple(
            (group.shown_name(model), *_fit_cells(group, model))
            for model in group.models
        ),
    )


_CONTEXT = Column("Context served", number=True)


def _fit_cells(group: TrialGroup, model: str) -> tuple[Cell, Cell]:
    """Memory and contexts."""
    records = group.of_model(model)
    sizes = sorted({record.cell.context_tokens for record in records})
    served = " / ".join(f"{size:,}" for size in sizes)
    trials = [each for (name, _), each in group.trials.items() if name == model]
    return (
        memory_cell(record for each in trials for record in each.finished),
        number(max(sizes), served, "tokens", records=records),
    )


def _quick_summary(group: TrialGroup) -> Table:
    return Table(
        caption=group.caption("Quick Summary"),
        columns=(
            "Model",
            *numbers("Gen tok/s (P1)"),
            *("Turn(correct) (P2)", "Code Quality (P2)", "TDD order (P2)"),
            *numbers("VRAM or memory"),
            _CONTEXT,
        ),
        rows=tuple(
            (
                group.shown_name(model),
                GENERATION.cell(group.trials.get((model, _FIRST))),
                turn_cell(second := group.trials.get((model, _SECOND))),
                quality_cell(second),
                tdd_cell(second),
                *_fit_cells(group, model),
            )
            for model in group.models
        ),
    )
