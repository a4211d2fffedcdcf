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
from llamatrix.report.table import Cell, Format, Row, Table, number, numbers
from llamatrix.report.views.cards import card_notes, card_tables
from llamatrix.units import context_text

FIRST_LIMIT = 0.01
"""Of the steady mean: a first repetition further off is marked."""
STEADY_NOTE = (
    "tokens/s are steady means: the first repetition of each process is left out; *as "
    "published* is llama-bench's own mean over all repetitions"
)


def page(groups: Iterable[Group]) -> str:
    parts = ["# Speed\n"]
    for group in groups:
        lines = [f"{term}: {text}" for term, text in facts(group).items()]
        lines += [*notes(group), *card_notes(group)]
        parts += [f"## Speed: {group.title}", ""]
        parts += warning_box(synthetic_warning(group.weights))
        parts += [*(f"- {line}" for line in lines), ""]
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


def _models(group: Group) -> Table:
    rows: list[Row] = []
    for model in group.models:
        results = [result for key, result in group.results.items() if key[0] == model]
        cell = results[0].records[0].cell
        result = next((result for result in results if result.rows), None)
        quant = cell.quant
        size = params = None
        if result:
            size, params = result.rows[0].model_bytes, result.rows[0].model_params
            if group.weights.synthetic:
                # llama-bench's own words for the mix of synthetic weights: `Q4_K - Medium`.
                mix = result.rows[0].model_type.split("B ", 1)[-1]
                quant = f"{mix}, stand-in"
        source = result.records[:1] if result else ()
        tiny = group.weights is WeightsKind.TINY
        rows.append(
            (
                *(group.shown_name(model), cell.architecture, quant),
                number(size, size_text, "bytes", records=source),
                number(params, params_text, "parameters", records=source),
                "n/a" if tiny else cell.active_params,
            )
        )
    return Table(
        "Models",
        (
            *("Model", "Architecture", "Quant", "Model size"),
            *("Total Params", "Active Params"),
        ),
        rows,
    )


def _prefill(group: Group) -> Table:
    tests = [test for test in group.tests if test.n_prompt]
    headings = (context_text(test.n_prompt) + test.suffix for test in tests)
    rows: list[Row] = [
        (
            group.shown_name(model),
            *(speed_cell(group.results.get((model, test)), whole) for test in tests),
        )
        for model in group.models
        if tests
    ]
    return Table("Prefill Speed (tokens/s)", ("Model", *numbers(*headings)), rows)


def _generation(group: Group) -> Table:
    """Fastest first, as published; one table for all generation lengths."""
    results = [(*key, result) for key, result in group.results.items() if key[1].n_gen]
    results.sort(key=lambda it: (it[1].n_gen, it[1].n_depth, -(it[2].mean or 0.0)))
    lengths = list(dict.fromkeys(test.name for _, test, _ in results))
    several = len(lengths) > 1
    return Table(
        f"Generation Speed ({', '.join(lengths)})",
        (
            *("Model", "Architecture"),
            *(("Test",) if several else ()),
            *numbers("Generation (tokens/s)"),
        ),
        [
            (
                *(group.shown_name(model), result.records[0].cell.architecture),
                *((test.name,) if several else ()),
                speed_cell(result, hundredths),
            )
            for model, test, result in results
        ],
    )


def _spread(group: Group) -> Table:
    rows: list[Row] = []
    for (model, test), result in group.results.items():
        used, mean = result.used if result.rows else (), result.mean
        published = result.published_mean
        shares = (
            None if deviation is None or not mean else deviation / mean
            for deviation in (result.between, result.within)
        )
        rows.append(
            (
                *(group.shown_name(model), test.name, speed_cell(result, hundredths)),
                number(published, hundredths, "tokens/s", records=used),
                first_cell(result),
                *(number(share, share_text, records=used) for share in shares),
                number(len(result.rows), result.count if result.rows else "0"),
            )
        )
    return Table(
        "Speed with spread",
        (
            *("Model", "Test"),
            *numbers("tokens/s", "as published", "first repetition"),
            *numbers("sd between processes", "sd within"),
            *numbers("n (processes×repetitions)"),
        ),
        rows,
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
