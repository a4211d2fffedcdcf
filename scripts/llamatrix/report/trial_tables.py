"""The published agent tables, from trial records: their layout, order and columns."""

from collections.abc import Sequence

from llamatrix.config.matrix import WeightsKind
from llamatrix.report.tables import Table
from llamatrix.report.trial_amounts import (
    API_CALLS,
    GENERATED_TOKENS,
    GENERATION,
    PREFILL,
    PUBLISHED,
    TOOL_CALLS,
    Amount,
    count_text,
    memory_text,
    turn_text,
)
from llamatrix.report.trial_quality import quality_table, quality_text, tdd_text
from llamatrix.report.trials import TrialGroup, prompt_short, prompt_title
from llamatrix.units import bytes_text

SCRIPTED = "scripted: an authored transcript spoke; no quality claim"
_FIRST, _SECOND = "httpx-post", "gemini-images"
"""Of the Quick Summary: speeds are of the first prompt, the turn of the second."""


def published_tables(group: TrialGroup) -> tuple[Table, ...]:
    return (
        *(_results(group, model) for model in group.models),
        _speed(group),
        _efficiency(group),
        _hardware_fit(group),
        *(_code_quality(group, task) for task in group.tasks if _is_done(group, task)),
        _quick_summary(group),
    )


def caveat(group: TrialGroup) -> str:
    """What every heading says of trials in which no real model spoke."""
    if group.setup.scripted:
        return SCRIPTED
    real = group.setup.weights is WeightsKind.HUB
    return "" if real else "made-up weights: no quality claim"


def titled(name: str, group: TrialGroup, *more: str) -> str:
    said = "; ".join(text for text in (*more, caveat(group)) if text)
    return f"{name} ({said})" if said else name


def shown_name(group: TrialGroup, model: str) -> str:
    """As the speed tables name it."""
    real = group.setup.weights is WeightsKind.HUB
    return model if real else f"{model} (synthetic)"


def _results(group: TrialGroup, model: str) -> Table:
    found = [group.trials.get((model, task)) for task in group.tasks]
    rows = [(each.name, *(each.cell(one) for one in found)) for each in PUBLISHED]
    rows.append(("Correct on turn", *(turn_text(one) for one in found)))
    rows.append(("Trials; amounts are medians", *(count_text(one) for one in found)))
    return Table(
        title=titled(f"Results: {shown_name(group, model)}", group),
        header=("Metric", *(prompt_title(task) for task in group.tasks)),
        rows=tuple(rows),
        right=tuple(range(1, len(group.tasks) + 1)),
    )


def _speed(group: TrialGroup) -> Table:
    return _by_model(
        "Speed",
        group,
        [
            *((f"Prefill tok/s ({prompt_short(t)})", PREFILL, t) for t in group.tasks),
            *((f"Gen tok/s ({prompt_short(t)})", GENERATION, t) for t in group.tasks),
        ],
    )


def _efficiency(group: TrialGroup) -> Table:
    """Tool calls and the turn are, as published, of all but the first prompt."""
    tasks = group.tasks
    table = _by_model(
        "Efficiency and Completion",
        group,
        [
            *((f"Tokens Gen ({prompt_short(t)})", GENERATED_TOKENS, t) for t in tasks),
            *((f"API Calls ({prompt_short(t)})", API_CALLS, t) for t in tasks),
            *((f"Tool Calls ({prompt_short(t)})", TOOL_CALLS, t) for t in tasks[1:]),
        ],
    )
    turns = [
        tuple(turn_text(group.trials.get((model, task))) for task in tasks[1:])
        for model in group.models
    ]
    return Table(
        title=table.title,
        header=(
            *table.header[:-1],
            *(f"Correct Turn ({prompt_short(task)})" for task in tasks[1:]),
            table.header[-1],
        ),
        rows=tuple(
            (*row[:-1], *turn, row[-1])
            for row, turn in zip(table.rows, turns, strict=True)
        ),
        right=table.right,
    )


def _by_model(
    name: str, group: TrialGroup, columns: Sequence[tuple[str, Amount, str]]
) -> Table:
    """A row for each model; the last column says of how many trials."""
    return Table(
        title=titled(name, group),
        header=("Model", *(text for text, _, _ in columns), _counts_header(group)),
        rows=tuple(
            (
                shown_name(group, model),
                *(each.cell(group.trials.get((model, t))) for _, each, t in columns),
                _counts(group, model),
            )
            for model in group.models
        ),
        right=tuple(range(1, len(columns) + 1)),
    )


def _counts_header(group: TrialGroup) -> str:
    return f"Trials ({', '.join(prompt_short(task) for task in group.tasks)})"


def _counts(group: TrialGroup, model: str) -> str:
    return ", ".join(
        count_text(group.trials.get((model, task))) for task in group.tasks
    )


def _hardware_fit(group: TrialGroup) -> Table:
    cards = group.records[0].host.gpus
    names = [f"{one.name} {bytes_text(one.memory_bytes)}" for one in cards]
    return Table(
        title=titled("Hardware Fit", group, ", ".join(names) or "no GPU"),
        header=("Model", "VRAM Usage" if cards else "Memory", "Context served"),
        rows=tuple(
            (shown_name(group, model), _memory(group, model), _context(group, model))
            for model in group.models
        ),
        right=(1, 2),
    )


def _is_done(group: TrialGroup, task: str) -> bool:
    return any(key[1] == task and one.finished for key, one in group.trials.items())


def _code_quality(group: TrialGroup, task: str) -> Table:
    return quality_table(
        group,
        task,
        title=titled(f"Code Quality: {prompt_title(task)}", group),
        models=[shown_name(group, model) for model in group.models],
    )


def _quick_summary(group: TrialGroup) -> Table:
    return Table(
        title=titled("Quick Summary", group),
        header=(
            *("Model", "Gen tok/s (P1)", "Turn(correct) (P2)", "Code Quality (P2)"),
            *("TDD order (P2)", "VRAM or memory", "Context served"),
        ),
        rows=tuple(
            (
                shown_name(group, model),
                GENERATION.cell(group.trials.get((model, _FIRST))),
                turn_text(second := group.trials.get((model, _SECOND))),
                quality_text(second),
                tdd_text(second),
                _memory(group, model),
                _context(group, model),
            )
            for model in group.models
        ),
        right=(1, 5, 6),
    )


def _memory(group: TrialGroup, model: str) -> str:
    found = [each for (name, _), each in group.trials.items() if name == model]
    return memory_text([record for each in found for record in each.finished])


def _context(group: TrialGroup, model: str) -> str:
    sizes = sorted({one.cell.context_tokens for one in group.of_model(model)})
    return " / ".join(f"{size:,}" for size in sizes)
