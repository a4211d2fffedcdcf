"""Groups of records and reference sets as sections of the HTML page."""

import re
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import compress

from llamatrix.config.cell import SpeedTest
from llamatrix.config.matrix import WeightsKind
from llamatrix.engines.outcome import Done
from llamatrix.provision.weights.provide import WeightsFacts
from llamatrix.records.context_record import ContextRecord
from llamatrix.records.speed_record import SpeedRecord
from llamatrix.records.store import Line, R
from llamatrix.reference.conditions import stated_fields
from llamatrix.reference.gpu import Gpu
from llamatrix.reference.quantity import RATES
from llamatrix.reference.roofline import NoRoofline, Roofline, rooflines
from llamatrix.report.inputs import RecordIndex
from llamatrix.report.metrics import tools_and_agent_s
from llamatrix.report.our_conditions import conditions_of
from llamatrix.report.plots import (
    LimitMark,
    Palette,
    ScatterMark,
    Words,
    anatomy_plot,
    curve_plot,
    generation_plot,
    history_plot,
    limit_plot,
    ratio_plot,
    scatter_plot,
    size_plot,
)
from llamatrix.report.render.html import Figure, Section, record_id
from llamatrix.report.set_comparison import (
    MEANS_NOTE,
    SetComparison,
    difference_text,
    not_measured,
    numbers_table,
    ratio_tables,
)
from llamatrix.report.speed import Group, outcome_word, synthetic_warning
from llamatrix.report.table import Cell, Column, Row, Table, numbers
from llamatrix.report.trials import (
    TrialGroup,
    outcome_text,
    prompt_short,
    prompt_title,
)
from llamatrix.report.views.cards import card_notes
from llamatrix.report.views.choose import RULE, Choices, choice_tables
from llamatrix.report.views.context import (
    context_name,
    context_notes,
    curve_table,
    fit_table,
    newest,
)
from llamatrix.report.views.drafts import (
    draft_groups,
    draft_notes,
    draft_tables,
    of_draft,
)
from llamatrix.report.views.regressions import (
    ComparedTask,
    History,
    Regression,
    pin_table,
    regression_table,
    task_table,
)
from llamatrix.report.views.speed import facts, notes, tables
from llamatrix.report.views.trial_details import detail_tables
from llamatrix.report.views.trials import published_tables, trial_facts
from llamatrix.report.views.troubles import trouble_tables
from llamatrix.stats.pass_rates import turn_curve

_VARYING = {
    *("prompt_tokens", "gen_tokens", "measured_on", "file", "file_sha256", "quant"),
}
"""Conditions that differ inside a group; the records' rows tell them."""
_USUAL_PROMPT = 512
_PASSES_NOTE = (
    "trials: `invoke regress --agent` makes them. SLOWER says that the candidate passes "
    "less often, FASTER more often; P is the probability that its pass rate drops or rises "
    "by more than 10 points; in brackets 95 % intervals (Wilson)"
)
_MOST_LINES = 8
"""In one plot of pins: more cannot be told apart."""
_OPEN = 2
"""Of our own trial tables those are shown at once: the pass rate and the curve."""


def group_id(group: Group | TrialGroup) -> str:
    if isinstance(group, TrialGroup):
        return f"a-{group.setup.name}"
    parts = (group.host_slug, group.sweep, group.weights, group.pin, group.build)
    return "-".join(("g", *parts))


def set_id(compared: SetComparison) -> str:
    return f"{compared.published.name}-{group_id(compared.group)}"


BADGES = {
    "synthetic": synthetic_warning(WeightsKind.FULL),
    "tiny synthetic": synthetic_warning(WeightsKind.TINY),
    "scripted": "An authored transcript spoke in the model's place: no quality claim.",
    "unstable": (
        "The processes of at least one test differ by more than the sweep's target spread."
    ),
    "unproven source": (
        "Nobody has proven that the pin's source is what its name and commit say."
    ),
}
"""Words beside headings, and what they mean."""


def badges_of(group: Group | TrialGroup) -> tuple[str, ...]:
    """Return what holds for all of a group, in words of `BADGES`."""
    if isinstance(group, TrialGroup):
        kind, scripted, unstable = group.setup.weights, group.setup.scripted, False
    else:
        kind, scripted = group.weights, False
        unstable = any(result.unstable for result in group.results.values())
    holds = {
        "synthetic": kind is WeightsKind.FULL,
        "tiny synthetic": kind is WeightsKind.TINY,
        "scripted": scripted,
        "unstable": unstable,
        "unproven source": bool(group.records[0].locked.label),
    }
    return tuple(badge for badge, held in holds.items() if held)


def group_title(group: Group | TrialGroup) -> str:
    """Return what tells it from every other of the same host; badges say the rest."""
    if isinstance(group, TrialGroup):
        setup = group.setup
        return (
            f"{setup.agent} setup, {setup.program}, {setup.network}, pin {setup.pin}, "
            f"{setup.build} build, {setup.weights} weights"
        )
    return (
        f"{group.sweep} sweep, pin {group.pin}, {group.build} build, {group.weights} "
        "weights"
    )


def speed_section(
    group: Group,
    index: RecordIndex,
    gpus: Mapping[str, Gpu],
    *,
    host: str,
    palette: Palette,
) -> Section:
    """Conditions, plots, tables, and every record of one group of speeds.

    `host` ends the title; empty where all sections are of the same one.
    """
    record, key = group.records[0], group_id(group)
    return Section(
        id=key,
        title=f"Speed: {group_title(group)}{host}",
        badges=badges_of(group),
        facts=(
            *facts(group).items(),
            ("tokens/s", ". ".join(notes(group)).replace("*", "")),
            *(
                (term, text)
                for note in card_notes(group)
                for term, _, text in [note.partition(": ")]
            ),
        ),
        conditions=tuple(
            (condition.replace("_", " "), str(value))
            for condition, value in stated_fields(conditions_of(record, gpus))
            if condition not in _VARYING
        ),
        figures=tuple(_speed_figures(group, key, palette)),
        tables=tables(group),
        records=(speed_records(group, key, index),),
    )


def _speed_figures(group: Group, key: str, palette: Palette) -> Iterator[Figure]:
    prefill: dict[str, dict[int, tuple[float, ...]]] = {}
    generation: dict[str, tuple[float, ...]] = {}
    by_depth: dict[str, dict[str, dict[int, tuple[float, ...]]]] = {}
    for (model, test), result in group.results.items():
        name, means = group.shown_name(model), result.steady_means
        if not means:
            continue
        if len(group.depths) > 1:
            size = SpeedTest(n_prompt=test.n_prompt, n_gen=test.n_gen).name
            kind = "prefill" if test.n_prompt else "generation"
            of_kind = by_depth.setdefault(kind, {})
            of_kind.setdefault(f"{name} {size}", {})[test.n_depth] = means
        if test.n_depth != group.depths[0]:
            continue
        if test.n_prompt:
            prefill.setdefault(name, {})[test.n_prompt] = means
        if test.n_gen:
            generation[f"{name} {test.name}"] = means
    if prefill:
        words = Words(
            id=f"{key}-prefill-plot",
            title=f"Prefill speed by prompt size, {group.title}",
            caption="Prefill by context. Lines join means; ticks are single processes.",
        )
        yield size_plot(prefill, words, palette, label="prompt size, tokens")
    if generation:
        words = Words(
            id=f"{key}-generation-plot",
            title=f"Generation speed by model, {group.title}",
            caption="Generation by model. Bars are means, strokes single processes.",
        )
        yield generation_plot(generation, words, palette)
    for kind, series in by_depth.items():
        words = Words(
            id=f"{key}-{kind}-depth-plot",
            title=f"{kind.capitalize()} speed over depth, {group.title}",
            caption=f"{kind.capitalize()} over the tokens that are already in the "
            "context. Lines join means; ticks are single processes.",
        )
        yield size_plot(series, words, palette, label="depth, tokens", log=False)


def _record_row(line: Line[R], name: str, *told: Cell | str) -> Row:
    return (
        Cell(value=name, id=record_id(line.sha256)),
        *told,
        line.record.measured_at[:19].replace("T", " "),
        Cell(value=f"{line.file}, line {line.number}", href=line.file),
        Cell(value=line.sha256[:16], hint=f"sha256 {line.sha256}"),
    )


def _weights_cell(weights: WeightsFacts) -> Cell:
    return Cell(value=weights.sha256[:16], hint=weights.file)


_OF_RECORD = ("Measured (UTC)", Column("File", wide=True), "sha256 of the line")
_WEIGHTS = "sha256 of the weights"


def speed_records(group: Group, key: str, index: RecordIndex) -> Table:
    """The end of every link: each record with its file, line and digest.

    `key` is the section that tells the conditions; empty for none.
    """
    rows = []
    how = (Cell(value="conditions", href=f"#{key}-conditions"),) if key else ()
    for record in group.records:
        outcome = record.outcome
        samples = outcome_word(outcome)
        if isinstance(outcome, Done):
            samples = ", ".join(
                f"{rate:,.2f}" for rate in outcome.result.tokens_per_second
            )
            samples += f" (disturbed: {record.disturbed})" if record.disturbed else ""
        name = group.shown_name(record.cell.model_name)
        told = (record.test.name, Cell(value=record.repeat), samples)
        row = _record_row(index.of(record), name, *told)
        rows.append((*row, _weights_cell(record.weights), *how))
    return Table(
        f"Records ({len(rows)})",
        (
            *("Model", "Test"),
            *numbers("Process"),
            Column("Samples, tokens/s", wide=True),
            *(*_OF_RECORD, _WEIGHTS),
            *(("How",) if key else ()),
        ),
        rows,
    )


def trial_section(
    group: TrialGroup, index: RecordIndex, *, host: str, palette: Palette
) -> Section:
    key, details = group_id(group), detail_tables(group)
    terms = trial_facts(group)
    terms["host"] = f"{group.setup.host_slug}: {terms['host']}"
    return Section(
        id=key,
        title=f"Agent: {group_title(group)}{host}",
        badges=badges_of(group),
        facts=tuple(terms.items()),
        figures=(*_anatomy(group, key), *_curves(group, key, palette)),
        tables=(*published_tables(group), *details[:_OPEN]),
        folded=(*details[_OPEN:], *trouble_tables(group)),
        records=(_trial_records(group, index),),
    )


def _anatomy(group: TrialGroup, key: str) -> Iterator[Figure]:
    rows = {}
    for (model, task), trials in group.trials.items():
        several = [record.result.turns for record in trials.finished]
        for number in range(1, max(map(len, several), default=0) + 1):
            turns = [record[number - 1] for record in several if len(record) >= number]
            rows[f"{model}, {prompt_short(task)}, turn {number}"] = (
                statistics.fmean(turn.totals.prompt_s for turn in turns),
                statistics.fmean(turn.totals.generation_s for turn in turns),
                statistics.fmean(tools_and_agent_s(turn) for turn in turns),
                statistics.fmean(turn.judged_s for turn in turns),
            )
    if rows:
        words = Words(
            id=f"{key}-anatomy-plot",
            title=f"Where the time of a turn went, {group.title}",
            caption=(
                "Time of each turn by what it was spent on: means over the trials that "
                "had this turn."
            ),
        )
        yield anatomy_plot(rows, words)


def _curves(group: TrialGroup, key: str, palette: Palette) -> Iterator[Figure]:
    """One for each prompt, the models side by side."""
    for task in group.tasks:
        curves = {
            group.shown_name(model): turn_curve(
                trials.turns, max_turns=trials.max_turns
            )
            for (model, other), trials in group.trials.items()
            if other == task and trials.turns
        }
        if curves:
            words = Words(
                id=f"{key}-curve-{task}-plot",
                title=f"Correct by turn, {prompt_title(task)}, {group.title}",
                caption=(
                    f"{prompt_title(task)}: share of trials correct by each turn, with "
                    "its 95 % Wilson band."
                ),
            )
            yield curve_plot(curves, words, palette)


def _trial_records(group: TrialGroup, index: RecordIndex) -> Table:
    rows = [
        (
            *_record_row(
                index.of(record),
                group.shown_name(record.cell.model_name),
                prompt_title(record.cell.task),
                Cell(value=record.trial),
                outcome_text(record.result.outcome),
                record.cell.script or "the model",
            ),
            _weights_cell(record.served.weights) if record.served else "n/a",
        )
        for record in group.records
    ]
    return Table(
        f"Records of trials ({len(rows)})",
        (
            *("Model", "Prompt"),
            *numbers("Trial"),
            *("Correct on turn", "Speaks", *_OF_RECORD, _WEIGHTS),
        ),
        rows,
    )


def context_section(
    contexts: Sequence[ContextRecord], index: RecordIndex, *, palette: Palette
) -> Section:
    records = newest(contexts)
    by_host: dict[str, list[ContextRecord]] = {}
    for record in records:
        by_host.setdefault(record.host.slug, []).append(record)
    kinds = {record.weights.kind for record in records}
    badges = {"synthetic": WeightsKind.FULL, "tiny synthetic": WeightsKind.TINY}
    rows = [
        (
            *_record_row(index.of(record), context_name(record)),
            "; ".join(note[2:] for note in context_notes(record)),
        )
        for record in records
    ]
    columns = ("Model", *_OF_RECORD, Column("Notes", wide=True))
    curves = map(curve_table, records)
    return Section(
        id="contexts",
        title="Largest context, validated",
        badges=tuple(badge for badge, kind in badges.items() if kind in kinds),
        figures=tuple(_context_figure(records, palette)),
        tables=tuple(
            replace(
                fit_table(of_host), caption=f"Hardware fit: {of_host[0].host.summary}"
            )
            for of_host in by_host.values()
        ),
        folded=tuple(curve for curve in curves if curve.rows),
        records=(Table(f"Records of contexts ({len(rows)})", columns, rows),),
    )


def _context_figure(
    records: Sequence[ContextRecord], palette: Palette
) -> Iterator[Figure]:
    series: dict[str, dict[int, tuple[float, ...]]] = {}
    for record in records:
        points: dict[int, tuple[float, ...]] = {
            step.tokens: (step.generation_tps,) for step in record.result.steps
        }
        label = f"{context_name(record)}, {record.cell.pin}"
        if len(points) > len(series.get(label, {})):
            series[label] = points
    if series:
        words = Words(
            id="contexts-plot",
            title="Generation speed over the context",
            caption="Generation while the context fills, up to the largest that was tried.",
        )
        yield size_plot(series, words, palette, label="tokens in the context")


def served_sections(
    records: Sequence[SpeedRecord],
    index: RecordIndex,
    *,
    current: frozenset[str],
    host: Callable[[str], str],
) -> Iterator[Section]:
    """Yield llama-server's speeds: drafts, clients at the same time, experts."""
    for (slug, title), drafts in draft_groups(records, current=current):
        first = next(iter(drafts.values()))
        record = first.records[0]
        yield Section(
            id="-".join(("s", slug, *re.findall(r"[a-z0-9.]+", title.lower()))),
            title=f"llama-server: {group_title(first)}{host(slug)}",
            badges=badges_of(first),
            facts=(
                ("host", record.host.summary),
                ("engine", f"llama.cpp {record.build.commit[:9]}"),
            ),
            tables=draft_tables(drafts),
            notes=draft_notes(drafts),
            records=tuple(
                replace(
                    speed_records(group, "", index),
                    caption=f"Records, {of_draft(draft)} ({len(group.records)})",
                )
                for draft, group in drafts.items()
            ),
        )


def slower_section(
    compared: Sequence[Regression],
    tasks: Sequence[ComparedTask],
    pins: Sequence[History],
    *,
    palette: Palette,
) -> Section:
    """Pairs and trials with verdicts, then pins measured one after the other."""
    every = (regression_table(compared), task_table(tasks), pin_table(pins))
    return Section(
        id="slower-section",
        title="Did it get slower or break?",
        figures=tuple(_history_figures(pins, palette)),
        tables=tuple(table for table in every if table.rows),
        notes=(
            (
                "pairs: processes of both versions in turn, in an order drawn at random; "
                "`invoke regress` makes and judges them"
            ),
            *([_PASSES_NOTE] if tasks else []),
            (
                "one after the other: the machine may have changed in between, so a ratio is a "
                "hint and no verdict"
            ),
        ),
    )


def _history_figures(pins: Sequence[History], palette: Palette) -> Iterator[Figure]:
    """Yield one for each host class and kind of test, a line for each configuration."""
    by_place: dict[tuple[str, str], dict[tuple[str, str], History]] = {}
    for history in sorted(pins, key=lambda one: one.test.n_prompt != _USUAL_PROMPT):
        kind = "generation" if history.test.n_gen else "prefill"
        found = by_place.setdefault((history.host_slug, kind), {})
        found.setdefault((history.model, history.where), history)
    for number, ((slug, kind), found) in enumerate(sorted(by_place.items())):
        shown = list(found.values())[:_MOST_LINES]
        parts = [
            (name, mark.strip("()"), history.test.name, *history.where.split(", "))
            for history in shown
            for name, _, mark in [history.model.partition(" ")]
        ]
        columns = [list(dict.fromkeys(texts)) for texts in zip(*parts, strict=False)]
        apart = [not place or len(texts) > 1 for place, texts in enumerate(columns)]
        labels = [", ".join(compress(part, apart)) for part in parts]
        shared = ", ".join(
            texts[0]
            for texts, told in zip(columns, apart, strict=True)
            if texts[0] and not told
        )
        left = len(found) - len(shown)
        more = f"; {left} more in the table" if left else ""
        words = Words(
            id=f"history-{number}-plot",
            title=f"{kind.capitalize()} at every pin, {slug}",
            caption=(
                f"{kind.capitalize()} at every pin measured on {slug} ({shared}), oldest "
                f"first, relative to the first{more}."
            ),
        )
        series = {
            label: {point.pin: point.means for point in history.points}
            for label, history in zip(labels, shown, strict=True)
        }
        yield history_plot(series, words, palette)


def ranking_section(found: Choices, palette: Palette) -> Section:
    ranking, sources = choice_tables(found)
    return Section(
        id="ranking",
        title="Which model?",
        open=True,
        figures=tuple(_scatter_figure(found, palette)),
        figures_last=True,
        tables=tuple(table for table in (ranking, sources) if table.rows),
        notes=(f"{RULE} `invoke choose` asks for another card or context.",),
    )


def _scatter_figure(found: Choices, palette: Palette) -> Iterator[Figure]:
    marks = []
    for choice in found.ranked:
        if choice.speed and choice.correct:
            sources = choice.speed.source, choice.correct.amount.source
            interval = choice.correct.interval
            marks.append(
                ScatterMark(
                    model=choice.name,
                    tokens_per_second=choice.speed.value,
                    speed_interval=choice.speed.interval,
                    rate=choice.correct.passes.rate,
                    rate_interval=(interval.low, interval.high),
                    here=all(source.grade.value == 0 for source in sources),
                    hover=(
                        f"{choice.name}: {choice.speed.text} tokens/s, correct "
                        f"{choice.correct.amount.text}"
                    ),
                )
            )
    if marks:
        words = Words(
            id="scatter-plot",
            title="Correctness and speed of the models",
            caption=(
                "Correct over speed, with 95 % intervals; the upper right is best. "
                "Filled: both measured here. Hollow: at least one measured elsewhere, see "
                "the sources."
            ),
        )
        yield scatter_plot(marks, words, palette)


def set_section(
    compared: SetComparison,
    ours: Sequence[Roofline | NoRoofline],
    *,
    host: str,
    palette: Palette,
) -> Section:
    """A reference set: our group against it, its audit, and all rooflines."""
    group, result, published = compared.group, compared.result, compared.published
    key = set_id(compared)
    speeds = isinstance(group, Group)
    comparable = result.comparable
    return Section(
        id=key,
        title=f"Against {published.name}: {group_title(group)}{host}",
        badges=badges_of(group),
        facts=(
            ("published as", published.heading),
            ("grade", str(published.whole.source.grade)),
            ("verdicts", result.summary),
            *((("ours", MEANS_NOTE),) if speeds else ()),
        ),
        notes=(
            *(f"Audit, {problem.text}" for problem in compared.carried),
            *(f"Not measured: {line[2:]}" for line in not_measured(compared)),
        )
        if comparable
        else (),
        figures=(
            *_ratio_figure(compared, key, palette),
            *(_limit_figure(compared, ours, key, palette) if speeds else ()),
        ),
        tables=(
            *((numbers_table(compared),) if comparable else ()),
            *(ratio_tables(result) if result.ratios else ()),
        ),
        folded=(_differences(compared),) if comparable else (),
    )


def _differences(compared: SetComparison) -> Table:
    total = len(compared.result.measured)
    return Table(
        "Conditions that differ",
        ("Condition", Column("Ours; theirs", wide=True), *numbers("Numbers")),
        [
            (
                difference.condition,
                difference_text(difference).partition(": ")[2],
                Cell(value=count, format=f"{count} of {total}"),
            )
            for difference, count in compared.shared_differences().items()
        ],
    )


def _ratio_figure(
    compared: SetComparison, key: str, palette: Palette
) -> Iterator[Figure]:
    claims = compared.published.by_id
    comparisons = [
        comparison
        for comparison in compared.result.measured
        if comparison.ratio and claims[comparison.claim].quantity in RATES
    ]
    if comparisons:
        words = Words(
            id=f"{key}-ratio-plot",
            title=f"Our speeds over those of {compared.published.name}",
            caption=(
                "Ours against published: ratio, our 95 % interval, and the band that "
                "counts as reproduced. Hollow: not comparable, see the reason below."
            ),
        )
        yield ratio_plot(comparisons, words, palette)


def _limit_figure(
    compared: SetComparison,
    ours: Sequence[Roofline | NoRoofline],
    key: str,
    palette: Palette,
) -> Iterator[Figure]:
    claims = compared.published.by_id
    marks = []
    for roofline in rooflines(compared.published.whole, compared.published.gpus):
        if isinstance(roofline, Roofline):
            claim = claims[roofline.claim]
            kind = "prefill" if claim.quantity == RATES[0] else "generation"
            row = f"{claim.model} {kind}"
            marks.append(LimitMark(row=row, fraction=roofline.fraction, ours=False))
    for our in ours:
        if isinstance(our, Roofline):
            model, _, test = our.claim.partition("/")
            row = f"{model} {'prefill' if test.startswith('pp') else 'generation'}"
            marks.append(LimitMark(row=row, fraction=our.fraction, ours=True))
    if marks:
        words = Words(
            id=f"{key}-limit-plot",
            title=f"Share of the physical limit, {compared.published.name} and ours",
            caption=(
                "Roofline: the share of memory bandwidth (generation) or of the matrix "
                "peak (prefill) that each speed reached. Filled: ours, hollow: published."
            ),
        )
        yield limit_plot(marks, words, palette)
