"""The published tables (Models, Prefill Speed, Generation Speed), then with spread."""

from collections.abc import Iterable

from llamatrix.config.matrix import WeightsKind
from llamatrix.report.formats import (
    hundredths,
    params_text,
    share_text,
    size_text,
    whole,
)
from llamatrix.report.render.markdown import markdown, warning_box
from llamatrix.report.speed import (
    KIND_NOTES,
    Group,
    Result,
    outcome_word,
    synthetic_warning,
)
from llamatrix.report.table import Cell, Format, Table, number, numbers
from llamatrix.report.views.cards import card_notes, card_tables
from llamatrix.units import context_text

FIRST_LIMIT = 0.01
"""Of the steady mean: a first repetition further off is marked."""
STEADY_NOTE = (
    "tokens/s are steady means: the first repetition of each process is left out; *as "
    "published* is llama-bench's own mean over all repetitions"
)


def page(groups: Iterable[Group]) -> str:
    """All groups as one Markdown page; the same groups give the same bytes."""
    parts = ["# Speed\n"]
    for group in groups:
        parts.append(_heading(group))
        parts += map(markdown, tables(group))
    return "\n".join(parts)


def tables(group: Group) -> tuple[Table, ...]:
    every = (
        *(_models(group), _prefill(group), _generation(group), _spread(group)),
        *card_tables(group),
    )
    return tuple(table for table in every if table.rows)


def notes(group: Group) -> tuple[str, ...]:
    """What the figures are, and what the sweep's stopping rule means for a reader."""
    lines = [STEADY_NOTE]
    target = group.records[-1].cell.target_spread
    if target is not None:
        lines.append(
            "processes are started until the standard deviation between them is at most "
            f"{100 * target:g} % (a stopping rule: an interval made of them covers less "
            "than it says); *unstable* rows did not reach it"
        )
    if disturbed := sum(bool(record.disturbed) for record in group.records):
        lines.append(
            f"{disturbed} of {len(group.records)} records were disturbed (other load, "
            "heat) and are left out where quiet ones exist"
        )
    return tuple(lines)


def facts(group: Group) -> dict[str, str]:
    """What a reader must know before a number: engine, build, weights, host, days."""
    record = group.records[0]
    compiler = f"{group.build} build by {record.build.compiler}"
    files = f"`records/{group.host_slug}/speed/*/{group.pin}/{group.build}.jsonl`"
    return {
        "engine": f"llama.cpp {record.build.commit[:9]} ({compiler})",
        "weights": KIND_NOTES[group.weights],
        "host": record.host.summary,
        "measured": f"{group.days}, {len(group.records)} records in {files}",
        "command": f"`{' '.join(record.process.argv)}`",
    }


def _heading(group: Group) -> str:
    lines = [f"{term}: {text}" for term, text in facts(group).items()]
    lines += [*notes(group), *card_notes(group)]
    return "\n".join(
        [
            *(f"## Speed: {group.title}", ""),
            *warning_box(synthetic_warning(group.weights)),
            *(f"- {line}" for line in lines),
            "",
        ]
    )


def _models(group: Group) -> Table:
    rows = []
    for model in group.models:
        records = [
            record for record in group.records if record.cell.model_name == model
        ]
        cell = records[0].cell
        test, row = next(
            (
                (test, result.rows[0])
                for (name, test), result in group.results.items()
                if name == model and result.rows
            ),
            (None, None),
        )
        quant = cell.quant
        if group.weights.synthetic and row:
            # llama-bench's own words for the mix of synthetic weights: `Q4_K - Medium`.
            quant = f"{row.model_type.split('B ', 1)[-1]}, stand-in"
        source = group.records_of(model, test)[:1] if test else ()
        tiny = group.weights is WeightsKind.TINY
        rows.append(
            (
                group.shown_name(model),
                *(cell.architecture, quant),
                number(
                    row.model_bytes if row else None, size_text, "bytes", records=source
                ),
                number(
                    row.model_params if row else None,
                    params_text,
                    "parameters",
                    records=source,
                ),
                "n/a" if tiny else cell.active_params,
            )
        )
    return Table(
        caption="Models",
        columns=(
            *("Model", "Architecture", "Quant", "Model size"),
            *("Total Params", "Active Params"),
        ),
        rows=tuple(rows),
    )


def _prefill(group: Group) -> Table:
    tests = [test for test in group.tests if test.n_prompt]
    return Table(
        caption="Prefill Speed (tokens/s)",
        columns=(
            "Model",
            *numbers(*(context_text(test.n_prompt) + test.suffix for test in tests)),
        ),
        rows=tuple(
            (
                group.shown_name(model),
                *(
                    speed_cell(group.results.get((model, test)), whole)
                    for test in tests
                ),
            )
            for model in group.models
            if tests
        ),
    )


def _generation(group: Group) -> Table:
    """Fastest first, as published; one table for all generation lengths."""
    results = [(*key, result) for key, result in group.results.items() if key[1].n_gen]
    results.sort(
        key=lambda result: (
            result[1].n_gen,
            result[1].n_depth,
            -(result[2].mean or 0.0),
        )
    )
    lengths = list(dict.fromkeys(test.name for _, test, _ in results))
    several = len(lengths) > 1
    return Table(
        caption=f"Generation Speed ({', '.join(lengths)})",
        columns=(
            *("Model", "Architecture"),
            *(("Test",) if several else ()),
            *numbers("Generation (tokens/s)"),
        ),
        rows=tuple(
            (
                group.shown_name(model),
                result.records[0].cell.architecture,
                *((test.name,) if several else ()),
                speed_cell(result, hundredths),
            )
            for model, test, result in results
        ),
    )


def _spread(group: Group) -> Table:
    return Table(
        caption="Speed with spread",
        columns=(
            *("Model", "Test"),
            *numbers("tokens/s", "as published", "first repetition"),
            *numbers("sd between processes", "sd within"),
            *numbers("n (processes×repetitions)"),
        ),
        rows=tuple(
            (
                group.shown_name(model),
                *(test.name, speed_cell(result, hundredths)),
                number(
                    result.published_mean,
                    hundredths,
                    "tokens/s",
                    records=result.used if result.rows else (),
                ),
                first_cell(result),
                _deviation_cell(result.between, result),
                _deviation_cell(result.within, result),
                number(len(result.rows), result.count if result.rows else "0"),
            )
            for (model, test), result in group.results.items()
        ),
    )


def speed_cell(result: Result | None, format_: Format) -> Cell:
    """A rounded steady mean with its marks, or the word for what happened instead."""
    if result is None:
        return Cell(value=None, missing="not measured")
    last = tuple(outcome_word(outcome) for outcome in result.failures[-1:])
    return number(
        result.mean,
        format_,
        "tokens/s",
        records=result.used,
        note=", ".join((*last, *result.marks)),
        missing=last[0] if last else "n/a (one repetition)",
    )


def first_cell(result: Result) -> Cell:
    """How far the first repetition is off the steady mean; marked beyond 1 %."""
    share = result.first_deviation
    off = share is not None and abs(share) > FIRST_LIMIT
    return number(
        share,
        lambda share: f"{100 * share:+.1f} %",
        records=result.used if result.rows else (),
        note="off" if off else "",
    )


def _deviation_cell(deviation: float | None, result: Result) -> Cell:
    """A deviation as a share of the mean."""
    mean = result.mean
    share = None if deviation is None or not mean else deviation / mean
    return number(share, share_text, records=result.used if result.rows else ())
