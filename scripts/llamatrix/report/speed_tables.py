"""The published tables (Models, Prefill Speed, Generation Speed), then with spread."""

from collections.abc import Iterable
from typing import assert_never

from llamatrix.config.matrix import WeightsKind
from llamatrix.engines.outcome import (
    ContextTooLarge,
    Crashed,
    Done,
    Invalid,
    Outcome,
    OutOfMemory,
    SpeedSample,
    TimedOut,
)
from llamatrix.report.speed import Group, Result
from llamatrix.report.tables import Table
from llamatrix.units import bytes_text, context_text

FIRST_LIMIT = 0.01
"""Of the steady mean: a first repetition further off is marked."""
KIND_NOTES = {
    WeightsKind.HUB: "the published GGUF files",
    WeightsKind.FULL: "synthetic weights at full size: engine speed, no quality",
    WeightsKind.TINY: (
        "tiny synthetic weights: these figures prove the pipeline and say nothing "
        "about the models they are named after"
    ),
}


STEADY_NOTE = (
    "tokens/s are steady means: the first repetition of each process is left out; *as "
    "published* is llama-bench's own mean over all repetitions"
)


def stopping_notes(group: Group) -> tuple[str, ...]:
    """What the sweep's stopping rule means for a reader; empty where it had none."""
    notes = []
    target = group.records[-1].cell.target_spread
    if target is not None:
        rule = (
            "processes are started until the standard deviation between them is at most "
            f"{100 * target:g} % (a stopping rule: an interval made of them covers less "
            "than it says); *unstable* rows did not reach it"
        )
        notes.append(rule)
    if disturbed := sum(bool(record.disturbed) for record in group.records):
        left_out = (
            f"{disturbed} of {len(group.records)} records were disturbed (other load, "
            "heat) and are left out where quiet ones exist"
        )
        notes.append(left_out)
    return tuple(notes)


def tables(group: Group) -> tuple[Table, ...]:
    return tuple(
        table
        for table in (
            _models(group),
            _prefill(group),
            _generation(group),
            _spread(group),
        )
        if table.rows
    )


def heading(group: Group) -> str:
    """What a reader must know before a number: engine, build, weights, host, days."""
    record = group.records[0]
    days = sorted({one.measured_at[:10] for one in group.records})
    when = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
    compiler = f"{group.build} build by {record.build.compiler}"
    files = f"`records/{group.host_slug}/speed/*/{group.pin}/{group.build}.jsonl`"
    lines = [
        f"## Speed: {group.title}",
        "",
        f"- engine: llama.cpp {record.build.commit[:9]} ({compiler})",
        f"- weights: {KIND_NOTES[group.weights]}",
        f"- host: {record.host.summary}",
        f"- measured: {when}, {len(group.records)} records in {files}",
        f"- command: `{' '.join(record.process.argv)}`",
        f"- {STEADY_NOTE}",
        *(f"- {note}" for note in stopping_notes(group)),
    ]
    return "\n".join(lines)


def page(groups: Iterable[Group]) -> str:
    """All groups as one Markdown page; the same groups give the same bytes."""
    parts = ["# Speed\n"]
    for group in groups:
        parts.append(heading(group) + "\n")
        parts += [table.markdown() for table in tables(group)]
    return "\n".join(parts)


def _models(group: Group) -> Table:
    synthetic = group.weights is not WeightsKind.HUB
    rows = []
    for model in group.models:
        record = next(one for one in group.records if one.cell.model_name == model)
        sized = [
            r for (name, _), r in group.results.items() if name == model and r.rows
        ]
        row = sized[0].rows[0] if sized else None
        rows.append(
            (
                model + (" (synthetic)" if synthetic else ""),
                record.cell.architecture,
                _stand_in(row) if synthetic and row else record.cell.quant,
                size_text(row.model_bytes) if row else "n/a",
                _billions(row.model_params) if row else "n/a",
                "n/a"
                if group.weights is WeightsKind.TINY
                else record.cell.active_params,
            )
        )
    return Table(
        title="Models",
        header=(
            *("Model", "Architecture", "Quant", "Model size"),
            *("Total Params", "Active Params"),
        ),
        rows=tuple(rows),
    )


def _prefill(group: Group) -> Table:
    prompts = [test for test in group.tests if test.n_prompt]
    return Table(
        title="Prefill Speed (tokens/s)",
        header=("Context", *group.models),
        rows=tuple(
            (
                context_text(test.n_prompt),
                *(
                    cell_text(group.results.get((model, test)), 0)
                    for model in group.models
                ),
            )
            for test in prompts
        ),
        right=tuple(range(1, len(group.models) + 1)),
    )


def _generation(group: Group) -> Table:
    """Fastest first, as published; one table for all generation lengths."""
    found = [
        (model, test, result)
        for (model, test), result in group.results.items()
        if test.n_gen
    ]
    found.sort(key=lambda one: (one[1].n_gen, -(one[2].mean or 0.0)))
    lengths = sorted({test.name for _, test, _ in found})
    architectures = {
        record.cell.model_name: record.cell.architecture for record in group.records
    }
    return Table(
        title=f"Generation Speed ({', '.join(lengths)})",
        header=("Model", "Architecture", "Generation (tokens/s)"),
        rows=tuple(
            (model, architectures[model], cell_text(result, 2))
            for model, _, result in found
        ),
        right=(2,),
    )


def _spread(group: Group) -> Table:
    return Table(
        title="Speed with spread",
        header=(
            *("Model", "Test", "tokens/s", "as published", "first repetition"),
            *("sd between processes", "sd within", "n (processes×repetitions)"),
        ),
        rows=tuple(
            (
                *(model, test.name, cell_text(result, 2)),
                *(published_text(result), first_text(result)),
                *(
                    share_text(result.between, result),
                    share_text(result.within, result),
                ),
                result.count if result.rows else "0",
            )
            for (model, test), result in group.results.items()
        ),
        right=(2, 3, 4, 5, 6, 7),
    )


def cell_text(result: Result | None, digits: int) -> str:
    """A rounded steady mean with its marks, or the word for what happened instead."""
    if result is None:
        return "not measured"
    if result.mean is None:
        failed = result.failures
        return outcome_word(failed[-1]) if failed else "n/a (one repetition)"
    last = (outcome_word(result.failures[-1]),) if result.failures else ()
    marks = (*last, *noise_marks(result))
    text = f"{result.mean:,.{digits}f}"
    return f"{text} ({', '.join(marks)})" if marks else text


def noise_marks(result: Result) -> tuple[str, ...]:
    """What a reader must know of a number that did not come of a quiet machine."""
    marks = {"disturbed": not result.quiet, "unstable": result.unstable}
    return tuple(mark for mark, holds in marks.items() if holds)


def published_text(result: Result) -> str:
    mean = result.published_mean
    return "n/a" if mean is None else f"{mean:,.2f}"


def first_text(result: Result) -> str:
    """How far the first repetition is off the steady mean; marked beyond 1 %."""
    share = result.first_deviation
    if share is None:
        return "n/a"
    mark = " (off)" if abs(share) > FIRST_LIMIT else ""
    return f"{100 * share:+.1f} %{mark}"


def outcome_word(outcome: Outcome) -> str:
    match outcome:
        case Done():
            return "done"
        case TimedOut():
            return "timed out"
        case Crashed():
            return "crashed"
        case OutOfMemory():
            return "out of memory"
        case ContextTooLarge():
            return "context too large"
        case Invalid():
            return "invalid row"
        case _:
            assert_never(outcome)


def share_text(deviation: float | None, result: Result) -> str:
    """A deviation as a share of the mean: `1.3 %`."""
    if deviation is None or not result.mean:
        return "n/a"
    return f"{100 * deviation / result.mean:.1f} %"


def _stand_in(row: SpeedSample) -> str:
    """llama-bench's own words for the mix of made-up weights: `Q4_K - Medium`."""
    return f"{row.model_type.split('B ', 1)[-1]}, stand-in"


def size_text(size: int) -> str:
    """As published where it is large (`16.40 GiB`)."""
    return f"{size / 2**30:.2f} GiB" if size >= 2**30 else bytes_text(size)


def _billions(count: int) -> str:
    return f"{count / 1e9:.2f} B" if count >= 10**8 else f"{count / 1e6:.2f} M"
