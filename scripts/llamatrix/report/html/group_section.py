"""One group of records as a section of the page: conditions, plots, tables, records."""

from llamatrix.config.cell import SpeedTest
from llamatrix.config.matrix import WeightsKind
from llamatrix.engines.outcome import Done
from llamatrix.records.speed_record import Record
from llamatrix.records.store import Line
from llamatrix.records.trial_record import TrialRecord
from llamatrix.reference.conditions import stated_fields
from llamatrix.reference.gpu import Gpu
from llamatrix.report.evidence import Evidence
from llamatrix.report.html.plots import Words, generation_plot, prefill_plot
from llamatrix.report.html.view import Cell, Column, Figure, Section, Table
from llamatrix.report.our_conditions import conditions_of
from llamatrix.report.speed import Group
from llamatrix.report.speed_tables import (
    KIND_NOTES,
    STEADY_NOTE,
    cell_text,
    first_text,
    outcome_word,
    published_text,
    share_text,
    size_text,
    stopping_notes,
)
from llamatrix.units import context_text

_MODEL = Column(text="Model")
_VARYING = {
    "prompt_tokens",
    "gen_tokens",
    "measured_on",
    "file",
    "file_sha256",
    "quant",
}
"""Conditions that differ inside a group; the records' rows tell them."""


def group_id(group: Group) -> str:
    parts = (group.host_slug, group.sweep, group.weights, group.pin, group.build)
    return "-".join(("g", *parts))


def record_id(line: Line[Record] | Line[TrialRecord]) -> str:
    return f"rec-{line.sha256[:16]}"


def result_cell(
    group: Group, model: str, test: SpeedTest, evidence: Evidence, digits: int
) -> Cell:
    """A mean that leads to the first of the records it was made of."""
    result = group.results.get((model, test))
    records = group.records_of(model, test)
    return Cell(
        text=cell_text(result, digits),
        sort=result.mean if result else None,
        href=f"#{record_id(evidence.of(records[0]))}" if records else "",
        hint=f"{test.name} of {model}: {len(records)} records",
    )


def group_section(group: Group, evidence: Evidence, gpus: dict[str, Gpu]) -> Section:
    key = group_id(group)
    return Section(
        id=key,
        title=f"Measured: {group.title}",
        warning=tiny_warning(group),
        facts=_facts(group),
        conditions=tuple(
            (key.replace("_", " "), str(value))
            for key, value in stated_fields(conditions_of(group.records[0], gpus))
            if key not in _VARYING
        ),
        figures=tuple(_figures(group, key)),
        tables=(
            _models(group, key, evidence),
            *_prefill(group, key, evidence),
            *_generation(group, key, evidence),
            _records(group, key, evidence),
        ),
    )


def tiny_warning(group: Group) -> str:
    tiny = group.weights is WeightsKind.TINY
    return f"Measured with {KIND_NOTES[group.weights]}." if tiny else ""


def _facts(group: Group) -> tuple[tuple[str, str], ...]:
    record = group.records[0]
    days = sorted({one.measured_at[:10] for one in group.records})
    return (
        ("host class", f"{group.host_slug}: {record.host.summary}"),
        ("engine", f"llama.cpp {record.build.commit}"),
        ("compiler", record.build.compiler),
        ("weights", KIND_NOTES[group.weights]),
        ("measured", days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"),
        ("tokens/s", ". ".join((STEADY_NOTE, *stopping_notes(group))).replace("*", "")),
    )


def _figures(group: Group, key: str) -> list[Figure]:
    found = []
    prefill = {
        model: {
            test.n_prompt: result.steady_means
            for (name, test), result in group.results.items()
            if name == model and test.n_prompt and result.steady_means
        }
        for model in group.models
    }
    prefill = {model: points for model, points in prefill.items() if points}
    if prefill:
        words = Words(
            id=f"{key}-prefill-plot",
            title=f"Prefill speed by prompt size, {group.title}",
            description=_told(
                {
                    model: [
                        f"{sum(points[size]) / len(points[size]):,.0f} at {context_text(size)}"
                        for size in sorted(points)
                    ]
                    for model, points in prefill.items()
                }
            ),
        )
        caption = "Prefill by context. Lines join means; ticks are single processes."
        svg = prefill_plot(prefill, words)
        found.append(Figure(id=f"{words.id}-figure", caption=caption, svg=svg))
    generation = {
        f"{model} {test.name}": result.steady_means
        for (model, test), result in group.results.items()
        if test.n_gen and result.steady_means
    }
    if generation:
        words = Words(
            id=f"{key}-generation-plot",
            title=f"Generation speed by model, {group.title}",
            description=_told(
                {
                    name: [f"{sum(values) / len(values):,.2f}"]
                    for name, values in generation.items()
                }
            ),
        )
        caption = "Generation by model. Bars are means, strokes single processes."
        svg = generation_plot(generation, words)
        found.append(Figure(id=f"{words.id}-figure", caption=caption, svg=svg))
    return found


def _told(series: dict[str, list[str]]) -> str:
    lines = (f"{name}: {', '.join(values)}" for name, values in series.items())
    return f"In tokens per second. {'; '.join(lines)}."


def _models(group: Group, key: str, evidence: Evidence) -> Table:
    rows = []
    for model in group.models:
        records = [one for one in group.records if one.cell.model_name == model]
        done = [one for one in records if isinstance(one.outcome, Done)]
        cell = records[0].cell
        size = params = Cell(text="n/a")
        if done and isinstance(done[0].outcome, Done):
            sample = done[0].outcome.result
            href = f"#{record_id(evidence.of(done[0]))}"
            size = Cell(
                text=size_text(sample.model_bytes), sort=sample.model_bytes, href=href
            )
            params = Cell(
                text=f"{sample.model_params:,}", sort=sample.model_params, href=href
            )
        quant = cell.quant if group.weights is WeightsKind.HUB else "stand-in"
        rows.append(
            (
                Cell(text=model),
                Cell(text=cell.architecture),
                Cell(text=quant),
                size,
                params,
            )
        )
    return Table(
        id=f"{key}-models",
        caption="Models",
        columns=(
            *(_MODEL, Column(text="Architecture"), Column(text="Quant")),
            *(
                Column(text="Model size", number=True),
                Column(text="Params", number=True),
            ),
        ),
        rows=tuple(rows),
    )


def _prefill(group: Group, key: str, evidence: Evidence) -> tuple[Table, ...]:
    prompts = [test for test in group.tests if test.n_prompt]
    if not prompts:
        return ()
    return (
        Table(
            id=f"{key}-prefill",
            caption="Prefill speed, tokens/s",
            columns=(
                Column(text="Context", number=True),
                *(Column(text=model, number=True) for model in group.models),
            ),
            rows=tuple(
                (
                    Cell(text=context_text(test.n_prompt), sort=test.n_prompt),
                    *(
                        result_cell(group, model, test, evidence, 0)
                        for model in group.models
                    ),
                )
                for test in prompts
            ),
        ),
    )


def _generation(group: Group, key: str, evidence: Evidence) -> tuple[Table, ...]:
    found = [
        (model, test, result)
        for (model, test), result in group.results.items()
        if test.n_gen
    ]
    found.sort(key=lambda one: (one[1].n_gen, -(one[2].mean or 0.0)))
    if not found:
        return ()
    return (
        Table(
            id=f"{key}-generation",
            caption="Generation speed, tokens/s",
            columns=(
                *(_MODEL, Column(text="Test"), Column(text="tokens/s", number=True)),
                Column(text="as published", number=True),
                Column(text="first repetition", number=True),
                Column(text="sd between processes", number=True),
                *(Column(text="sd within", number=True), Column(text="n")),
            ),
            rows=tuple(
                (
                    Cell(text=model),
                    Cell(text=test.name),
                    result_cell(group, model, test, evidence, 2),
                    Cell(text=published_text(result), sort=result.published_mean),
                    Cell(text=first_text(result), sort=result.first_deviation),
                    Cell(text=share_text(result.between, result), sort=result.between),
                    Cell(text=share_text(result.within, result), sort=result.within),
                    Cell(text=result.count if result.rows else "0"),
                )
                for model, test, result in found
            ),
        ),
    )


def _records(group: Group, key: str, evidence: Evidence) -> Table:
    """The end of every link: each record with its file, line and digest."""
    rows = []
    for record in group.records:
        line = evidence.of(record)
        outcome = record.outcome
        if isinstance(outcome, Done):
            samples = outcome.result.tokens_per_second
            said = ", ".join(f"{sample:,.2f}" for sample in samples)
            said += f" (disturbed: {record.disturbed})" if record.disturbed else ""
        else:
            said = outcome_word(outcome)
        rows.append(
            (
                Cell(text=record.cell.model_name, id=record_id(line)),
                Cell(text=record.test.name),
                Cell(text=str(record.repeat), sort=record.repeat),
                Cell(text=said),
                Cell(text=record.measured_at[:19].replace("T", " ")),
                Cell(text=f"{line.file}, line {line.number}", href=line.file),
                Cell(text=line.sha256[:16], hint=f"sha256 {line.sha256}"),
                Cell(text=record.weights.sha256[:16], hint=record.weights.file),
                Cell(text="conditions", href=f"#{key}-conditions"),
            )
        )
    return Table(
        id=f"{key}-records",
        caption=f"Records ({len(rows)})",
        columns=(
            *(_MODEL, Column(text="Test"), Column(text="Process", number=True)),
            *(Column(text="Samples, tokens/s"), Column(text="Measured (UTC)")),
            *(Column(text="File"), Column(text="sha256 of the line")),
            *(Column(text="sha256 of the weights"), Column(text="How")),
        ),
        rows=tuple(rows),
        folded=True,
    )
