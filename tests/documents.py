"""What the documents quote from the shipped records, computed from them.

A document holds a block `<!-- computed: NAME EXAMPLE key=value … -->`, closed with
`<!-- end -->`. NAME is a function of `BLOCKS`, EXAMPLE a folder of `reports/examples`.
"""

import re
import statistics
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from functools import cache
from pathlib import Path

from tests.shipped import ROOT, shipped_matrix

from llamatrix.agents import NAMES as AGENT_NAMES
from llamatrix.commands.report_view import load_view
from llamatrix.compare.ledger import pairs_of
from llamatrix.config.cell import SpeedTest
from llamatrix.measure.context.result import usable_context
from llamatrix.nvml import Gpu
from llamatrix.records.context_record import ContextRecord
from llamatrix.records.cross_talk_record import CROSS_TALK
from llamatrix.records.pair_records import SPEED_PAIRS, SpeedRun
from llamatrix.records.speed_record import SPEED, SpeedRecord
from llamatrix.records.store import Store
from llamatrix.records.trial_record import AGENT, TrialRecord
from llamatrix.report.render.markdown import markdown
from llamatrix.report.speed import Group
from llamatrix.report.table import Column, Table
from llamatrix.report.view import View
from llamatrix.report.views.cards import (
    energy_cells,
    peak_memory,
    predicted_need,
    sample_of,
)
from llamatrix.report.views.choose import Question, choice_tables, choices
from llamatrix.report.views.context import newest
from llamatrix.report.views.drafts import draft_page
from llamatrix.stats.pairs import Samples
from llamatrix.stats.sequential import SequentialTest, judge_cases
from llamatrix.stats.verdict import Metric
from llamatrix.trials.trial_result import Correct, is_scored
from llamatrix.units import bytes_text, parse_card_bytes

EXAMPLES = ROOT / "reports" / "examples"
BLOCK = re.compile(
    r"(?P<begin><!-- computed: (?P<what>[^>]*?) -->\n)(?P<text>.*?)(?P<end><!-- end -->)",
    re.DOTALL,
)
_MIB = 2**20
Options = Mapping[str, str]
Engine = SpeedRecord | ContextRecord | TrialRecord


def renewed(text: str) -> str:
    """Return a document with every computed block made again."""
    return BLOCK.sub(
        lambda match: f"{match['begin']}\n{_block(match['what'])}\n{match['end']}", text
    )


def without_blocks(text: str) -> str:
    return BLOCK.sub("", text)


def _block(what: str) -> str:
    name, example, *words = what.split()
    options = dict(word.split("=", 1) for word in words)
    return BLOCKS[name](EXAMPLES / example, options)


@cache
def view_of(folder: Path) -> View:
    return load_view(str(folder))


def engines(folder: Path) -> tuple[Engine, ...]:
    """Return every record of an example that names an engine."""
    view = view_of(folder)
    reports = view.project.reports
    speeds = Store(reports=reports, kind=SPEED).read_all()
    trials = Store(reports=reports, kind=AGENT).read_all()
    return (*speeds, *view.drafts, *view.contexts, *trials)


def provenance(folder: Path, _options: Options) -> str:
    """List hosts and builds as the records have them, then every run."""
    hosts = {record.host.slug: record.host for record in engines(folder)}
    lines = [
        f"- host `{slug}`: {host.summary}, {host.kernel}{_drivers(host.gpus)}"
        for slug, host in sorted(hosts.items())
    ]
    builds: dict[str, list[Engine]] = defaultdict(list)
    for record in engines(folder):
        builds[record.build.key].append(record)
    for key, records in sorted(builds.items()):
        build, pins = records[0].build, {record.cell.pin for record in records}
        notes = {record.build.source_note for record in records} - {""}
        lines.append(
            f"- build `{key[:8]}`: llama.cpp {build.commit[:9]} (`{', '.join(pins)}`), "
            f"{build.compiler}{_architectures(build.cmake)}"
            + "".join(f"; source: {note}" for note in sorted(notes))
        )
    return "\n".join(lines) + "\n\n" + _runs(folder)


def _drivers(gpus: Sequence[Gpu]) -> str:
    drivers = sorted({gpu.driver for gpu in gpus})
    return "".join(f", NVIDIA driver {driver}" for driver in drivers)


def _architectures(cmake: Mapping[str, str]) -> str:
    architectures = cmake.get("CMAKE_CUDA_ARCHITECTURES")
    return (
        f", CUDA architectures {architectures.replace(';', ', ')}"
        if architectures
        else ""
    )


def _runs(folder: Path) -> str:
    runs: dict[tuple[str, ...], list[Engine]] = defaultdict(list)
    for record in engines(folder):
        key = (
            *(_kind(record), record.cell.model_name, record.cell.pin),
            *(record.build.key[:8], _weights(record)),
        )
        runs[key].append(record)
    rows = []
    for (kind, model, pin, build, weights), records in sorted(
        runs.items(), key=lambda item: min(one.measured_at for one in item[1])
    ):
        times = sorted(record.measured_at for record in records)
        rows.append(
            (
                *(kind, model, f"`{pin}`", f"`{build}`", f"`{weights}`"),
                _count(records),
                f"{times[0][:10]} {times[0][11:16]} to {times[-1][11:16]}",
            )
        )
    header = (
        *("What", "Model", "Pin", "Build", "Weights", "processes × all repetitions"),
        "recorded (UTC)",
    )
    return _table(header, rows)


def _kind(record: Engine) -> str:
    match record:
        case SpeedRecord():
            return f"`{record.cell.sweep}` sweep"
        case ContextRecord():
            return f"`context`, {_asked(record)}"
        case TrialRecord():
            return f"trial of `{record.cell.task}`"


def _weights(record: Engine) -> str:
    if isinstance(record, TrialRecord):
        return record.served.weights.sha256[:8] if record.served else "none"
    return record.weights.sha256[:8]


def _asked(record: ContextRecord) -> str:
    vram = record.limits.vram_bytes
    limit = f"`--vram` {bytes_text(vram)}" if vram else "all memory"
    return f"{limit}, speed kept {100 * record.limits.min_speed_ratio:.0f} %"


def _count(records: Sequence[Engine]) -> str:
    samples = [
        sample
        for one in records
        if isinstance(one, SpeedRecord) and (sample := sample_of(one))
    ]
    if not samples:
        return str(len(records))
    processes = {one.process.id for one in records if isinstance(one, SpeedRecord)}
    repetitions = sorted({sample.repetitions for sample in samples})
    return f"{len(processes)}×{'/'.join(map(str, repetitions))}"


def speeds(folder: Path, options: Options) -> str:
    """Return the steady means of chosen tests, one row for each model and engine.

    Pin, build and sweep stand above the table where they are the same in all rows.
    """
    sweeps = options.get("sweep", "").split(",")
    chosen = [
        group
        for group in view_of(folder).groups
        if sweeps == [""] or group.sweep in sweeps
    ]
    names = options["tests"].split(",")
    rows = [row for group in chosen for row in _speed_rows(group, names)]
    joules = f"J per token ({names[-1]})"
    header = ("Model", "Pin", "Build", "Sweep", *names, joules, "n")
    values = [dict.fromkeys(column) for column in zip(*rows, strict=True)]
    dull = {column for column in (1, 2, 3) if len(values[column]) == 1}
    caption = [
        f"{header[column].lower()} {next(iter(values[column]))}"
        for column in sorted(dull)
    ]
    if set(values[-2]) == {"n/a"}:
        dull.add(len(header) - 2)
    shown = [column for column in range(len(header)) if column not in dull]
    table = _table(
        [header[column] for column in shown],
        [[row[column] for column in shown] for row in _in_order_of_the_matrix(rows)],
    )
    return f"{_measured(chosen)}; {', '.join(caption)}:\n\n{table}"


def _measured(chosen: Sequence[Group]) -> str:
    """Name the cards or processors, llama.cpp's commits and the days."""
    records = [record for group in chosen for record in group.records]
    devices = {
        gpu.name if gpu else record.host.cpu_model
        for record in records
        for gpu in record.host.gpus[:1] or (None,)
    }
    commits = {record.build.commit[:9] for record in records}
    days = {record.measured_at[:10] for record in records}
    return ", ".join(
        (*sorted(devices), f"llama.cpp {' and '.join(sorted(commits))}", *sorted(days))
    )


def _in_order_of_the_matrix(
    rows: Sequence[tuple[str, ...]],
) -> list[tuple[str, ...]]:
    order = [model.name for model in shipped_matrix().models.values()]
    return sorted(rows, key=lambda row: (order.index(row[0]), *row[1:4]))


def _speed_rows(group: Group, names: Sequence[str]) -> Iterator[tuple[str, ...]]:
    by_name = {test.name: test for test in group.tests}
    for model in group.models:
        results = {
            name: group.results[model, by_name[name]]
            for name in names
            if name in by_name and (model, by_name[name]) in group.results
        }
        if results:
            yield (
                *(model, f"`{group.pin}`", f"`{group.build}`", f"`{group.sweep}`"),
                *(
                    _speed(results[name].mean) if name in results else "n/a"
                    for name in names
                ),
                _joules(group, model, by_name.get(names[-1])),
                ", ".join(dict.fromkeys(result.count for result in results.values())),
            )


def _speed(mean: float | None) -> str:
    if mean is None:
        return "n/a"
    return f"{mean:,.0f}" if mean >= 1000 else f"{mean:.2f}"


def _joules(group: Group, model: str, test: SpeedTest | None) -> str:
    if test is None:
        return "n/a"
    joules = energy_cells(group.records_of(model, test))[0].value
    return f"{joules:.2f}" if isinstance(joules, float) else "n/a"


def trials(folder: Path, _options: Options) -> str:
    """Trials of a model beside scripted ones: who spoke, and what came of it."""
    groups: dict[tuple[str, ...], list[TrialRecord]] = defaultdict(list)
    for record in engines(folder):
        if isinstance(record, TrialRecord):
            cell, agent = record.cell, AGENT_NAMES[record.agent_kind]
            speaks = f"scripted: {cell.script}" if cell.script else "the model"
            groups[cell.model_name, agent, cell.task, speaks].append(record)
    rows = []
    for key, records in sorted(groups.items(), key=lambda item: item[0][::-1]):
        outcomes = {one.trial: one.result.outcome for one in records}.values()
        scored = [one for one in outcomes if is_scored(one)]
        turns = sorted(one.turn for one in scored if isinstance(one, Correct))
        passed = f"{len(turns)} of {len(scored)}"
        rows.append((*key, passed, ", ".join(map(str, sorted(set(turns)))) or "none"))
    header = ("Model", "Agent", "Task", "Who speaks", "Correct", "On turn")
    return _table(header, rows)


def drafts(folder: Path, _options: Options) -> str:
    """Return what drafts cost and bring, by model and draft."""
    page = draft_page(view_of(folder).drafts)
    return "\n".join(line for line in page.splitlines() if line.startswith("|"))


def memory(folder: Path, options: Options) -> str:
    """Return predicted and measured memory of a test, one row for each engine."""
    rows = []
    for group in view_of(folder).groups:
        for model in group.models:
            records = [
                record
                for record in group.records
                if (record.cell.model_name, record.test.name)
                == (model, options["test"])
            ]
            peak_bytes, _ = peak_memory(records)
            if peak_bytes is not None:
                predicted = predicted_need(records[0]).total
                rows.append(
                    (
                        *(model, f"`{group.pin}`", f"`{group.build}`"),
                        f"`{group.sweep}`",
                        f"{predicted / _MIB:,.0f}",
                        f"{peak_bytes / _MIB:,.0f}",
                        f"{100 * (peak_bytes / predicted - 1):+.1f} %",
                    )
                )
    header = ("Model", "Pin", "Build", "Sweep", "predicted", "held at most", "error")
    return _table(header, _in_order_of_the_matrix(rows))


def contexts(folder: Path, _options: Options) -> str:
    """Return the largest contexts, of the newest search of each question."""
    rows = []
    for record in newest(view_of(folder).contexts):
        result, rungs = record.result, record.result.steps
        answer = usable_context(result, min_speed_ratio=record.limits.min_speed_ratio)
        rung = answer.step
        kept = rung and 100 * rung.generation_tps / rungs[0].generation_tps
        held_bytes = rung and rung.footprint and rung.footprint.held_bytes
        rows.append(
            (
                *(record.cell.model_name, f"`{record.cell.pin}`"),
                _asked(record),
                f"{rung.tokens:,}" if rung else "none",
                str(answer.limit),
                f"{kept:.0f} %" if kept else "n/a",
                f"{held_bytes / _MIB:,.0f} MiB" if held_bytes else "n/a",
            )
        )
    header = (
        *("Model", "Pin", "Asked", "Largest context (tokens)", "limited by"),
        *("of the first speed", "memory held"),
    )
    return _table(header, rows)


def regress(folder: Path, _options: Options) -> str:
    """Judge the shipped pairs again, with the rule and the looks of today's defaults."""
    by_case: dict[tuple[str, str], dict[str, list[SpeedRun]]]
    by_case = defaultdict(lambda: defaultdict(list))
    for entry in Store(reports=folder, kind=SPEED_PAIRS).read_all():
        engines_compared = entry.case.split("/")[2]
        by_case[entry.host.slug, engines_compared][entry.record_id].append(entry)
    sequential = SequentialTest()
    rows = []
    for _, cases in sorted(by_case.items()):
        last = {case: entries[-1] for case, entries in cases.items()}
        judged = judge_cases(
            {
                case: Samples(
                    unit=_metric(last[case].test).unit,
                    pairs=pairs_of(
                        entries,
                        series=last[case].series,
                        value=lambda run: run.value(Metric.PROMPT),
                    ),
                )
                for case, entries in cases.items()
            },
            margins={case: _metric(last[case].test).margin for case in cases},
            sequential=sequential,
        )
        for cell in judged.cells:
            estimate, interval = cell.comparison.estimate, cell.comparison.interval
            rows.append(
                (
                    f"`{last[cell.id].case}`",
                    str(cell.verdict),
                    f"{estimate.ratio:.4f}" if estimate else "n/a",
                    f"{interval.low:.4f} to {interval.high:.4f}" if interval else "n/a",
                    str(len(cell.comparison.used)),
                    f"`{last[cell.id].weights.sha256[:8]}`",
                    last[cell.id].measured_at[:10],
                )
            )
    level = f"{100 * (1 - sequential.alpha_per_look):.3g} % interval"
    return _table(
        ("Cell", "Verdict", "Ratio", level, "Pairs", "Weights", "recorded"), rows
    )


def cross_talk(folder: Path, _options: Options) -> str:
    """Return what a card loses while the others compute, by test."""
    store = Store(reports=folder, kind=CROSS_TALK)
    rows = [
        (
            *(f"`{record.cell_id}`", one.test.name),
            *(
                f"{statistics.fmean(tps):,.2f}"
                for tps in (one.alone_tps, one.beside_tps)
            ),
            f"{one.ratio:.4f}",
            f"{one.low:.4f} to {one.high:.4f}",
            str(len(one.alone_tps)),
        )
        for record in store.read_all()
        for one in record.tests
    ]
    header = ("Cell", "Test", "Alone, tokens/s", "Beside, tokens/s", "Ratio")
    return _table((*header, "95 % interval", "Pairs"), rows)


def side_by_side(folder: Path, _options: Options) -> str:
    """Return the time that measuring took on one card and on two."""
    alone, both = (
        _measuring_s(folder / name) for name in ("one-card.txt", "two-cards.txt")
    )
    rows = [
        ("1", f"{alone:.0f}", "n/a"),
        ("2", f"{both:.0f}", f"{alone / both:.2f}"),
    ]
    return _table(("Cards", "Measuring, s", "Times as fast as one"), rows)


def _measuring_s(log: Path) -> float:
    """Return the seconds from the first process to the last result of a command."""
    lines = log.read_text().splitlines()
    began = next(line for line in lines if ": measuring " in line)
    ended = next(line for line in lines if " tests measured, " in line)
    first, last = (datetime.fromisoformat(line[:20]) for line in (began, ended))
    return (last - first).total_seconds()


def choose(_folder: Path, options: Options) -> str:
    """Rank the models for a card, from all shipped records and published sets."""
    views = [view_of(folder.parent) for folder in sorted(EXAMPLES.glob("*/records"))]
    matrix, card_bytes = shipped_matrix(), parse_card_bytes(options["vram"])
    found = choices(
        Question(
            card_bytes=card_bytes,
            card=f"a card of {bytes_text(card_bytes)}",
            context_tokens=int(options["context"]),
            here="",
        ),
        models={key: model.name for key, model in matrix.models.items()},
        groups=[group for view in views for group in view.groups],
        trials=[group for view in views for group in view.trials],
        contexts=[record for view in views for record in view.contexts],
        sets=views[0].sets,
    )
    ranking, sources = choice_tables(found)
    marks = "; ".join(
        f"{mark}, {grade}: {source}"
        for mark, grade, source in (
            [cell.text for cell in row] for row in sources.cells
        )
    )
    table = markdown(ranking).split("\n\n", 1)[1]
    return f"{ranking.caption}:\n\n{table}\n{marks}.\n"


def _metric(test: SpeedTest) -> Metric:
    return Metric.GENERATION if test.n_gen else Metric.PROMPT


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    columns = (
        Column(text, number=all(re.match(r"[\d+\-]|n/a", row[place]) for row in rows))
        for place, text in enumerate(header)
    )
    table = Table(caption="", columns=tuple(columns), rows=tuple(map(tuple, rows)))
    return markdown(table).split("\n\n", 1)[1]


BLOCKS = {
    "provenance": provenance,
    "speeds": speeds,
    "trials": trials,
    "drafts": drafts,
    "memory": memory,
    "contexts": contexts,
    "regress": regress,
    "cross-talk": cross_talk,
    "side-by-side": side_by_side,
    "choose": choose,
}
