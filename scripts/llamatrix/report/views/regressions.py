"""Did it get slower? The pairs of `invoke regress` judged again, and pins side by side."""

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from llamatrix.compare.ledger import pairs_of
from llamatrix.config.cell import SpeedTest
from llamatrix.config.known_builds import place_in_time
from llamatrix.records.pair_records import ComparedTrials, ReplayRun, SpeedRun
from llamatrix.report.comparison import passes_text
from llamatrix.report.formats import speed_text
from llamatrix.report.speed import Group, Result
from llamatrix.report.table import Cell, Column, Row, Table, count, number, numbers
from llamatrix.report.views.speed import speed_cell
from llamatrix.stats.intervals import Interval, ratio_interval, t_quantile
from llamatrix.stats.pairs import Samples
from llamatrix.stats.sequential import PLANNED, JudgedCell, judge_cases
from llamatrix.stats.trials import TrialComparison, judge_trials
from llamatrix.stats.verdict import Metric

Run = SpeedRun | ReplayRun
_REPLAY_METRICS = (Metric.PROMPT, Metric.GENERATION, Metric.FIRST_TOKEN)
NOT_PROVABLE = "not provable, n = 1"
UNPAIRED = "not paired: `invoke regress` decides"


@dataclass(frozen=True, kw_only=True, slots=True)
class ComparedCell:
    """One metric of one case, with the means of both arms."""

    model: str
    """As tables show it."""
    test: str
    where: str
    """The rest of the case: build, and what else the arms share or differ in."""
    judged: JudgedCell
    means: tuple[float | None, float | None]
    """Of the baseline and of the candidate, over the pairs that count."""
    day: str
    file: str
    """Of its pairs, below the reports."""

    @property
    def ratio_text(self) -> str:
        """Write `0.9417 [0.9200, 0.9600]`, or nothing."""
        comparison = self.judged.comparison
        if comparison.estimate is None:
            return ""
        ends = _ends_text(comparison.interval)
        return f"{comparison.estimate.ratio:.4f} {ends}".strip()


@dataclass(frozen=True, kw_only=True, slots=True)
class Regression:
    """What was compared on one host class, with every cell judged together."""

    host_slug: str
    arms: str
    """What differs: `april..current`; without dots both arms are the same (A/A)."""
    cells: tuple[ComparedCell, ...]

    @property
    def identical(self) -> bool:
        return ".." not in self.arms

    @property
    def arms_text(self) -> str:
        """Write `april → current`."""
        return _arms_text(self.arms)


def regressions(
    runs: Iterable[Run], models: Mapping[str, str]
) -> tuple[Regression, ...]:
    """Judge the last series of every case, by today's rule and planned looks.

    Cases of one host class and of the same two arms are judged together. `models` are
    names by key.
    """
    by_arms: dict[tuple[str, str], dict[str, list[Run]]]
    by_arms = defaultdict(lambda: defaultdict(list))
    for run in runs:
        _, arms, _ = _parts_of(run.case)
        by_arms[run.host.slug, arms][run.record_id].append(run)
    return tuple(
        Regression(host_slug=slug, arms=arms, cells=tuple(_judged(cases, models)))
        for (slug, arms), cases in sorted(by_arms.items())
    )


def _arms_text(arms: str) -> str:
    return arms.replace("..", " → ") if ".." in arms else f"{arms} → itself (A/A)"


def _parts_of(case: str) -> tuple[str, str, str]:
    """Return the baseline's model, what differs (else the pin), and what arms share.

    `case` is its id, without the test or task at its end.
    """
    _, model, pin, *rest = case.split("/")
    key = model.partition("..")[0].split(".")[0]
    differ = [part for part in (model, pin, *rest) if ".." in part]
    shared = [part for part in rest if ".." not in part]
    return key, ", ".join(differ) or pin, ", ".join(shared)


def _judged(
    cases: Mapping[str, list[Run]], models: Mapping[str, str]
) -> Iterator[ComparedCell]:
    measured = {
        f"{case}/{metric}": (runs[-1], metric, _samples(runs, metric))
        for case, runs in sorted(cases.items())
        for metric in (
            _REPLAY_METRICS
            if isinstance(runs[-1], ReplayRun)
            else (Metric.GENERATION if runs[-1].test.n_gen else Metric.PROMPT,)
        )
    }
    judgement = judge_cases(
        {key: samples for key, (_, _, samples) in measured.items()},
        margins={key: metric.margin for key, (_, metric, _) in measured.items()},
    )
    for cell in judgement.cells:
        last, metric, samples = measured[cell.id]
        used = [pair for pair in samples.pairs if pair.number in cell.comparison.used]
        case = last.case
        if isinstance(last, SpeedRun):
            case = case.rpartition("/")[0]
        key, _, where = _parts_of(case)
        yield ComparedCell(
            model=last.weights.kind.shown_name(models.get(key, key)),
            test=last.test.name if isinstance(last, SpeedRun) else f"replay, {metric}",
            where=where,
            judged=cell,
            means=(
                _mean(pair.baseline for pair in used),
                _mean(pair.candidate for pair in used),
            ),
            day=last.measured_at[:10],
            file=file_of_pairs(last),
        )


def file_of_pairs(run: Run | ComparedTrials) -> str:
    """Return where all pairs of its case stand, below the reports."""
    return f"regress/{run.host.slug}/{run.record_id}.jsonl"


def _samples(runs: Sequence[Run], metric: Metric) -> Samples:
    pairs = pairs_of(
        runs,  # type: ignore[type-var]  # of one file, so all of one type
        series=runs[-1].series,
        value=lambda run: run.value(metric),
    )
    return Samples(unit=metric.unit, pairs=pairs)


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None


def regression_table(compared: Sequence[Regression]) -> Table:
    rows: list[Row] = []
    for regression in compared:
        for cell in regression.cells:
            comparison = cell.judged.comparison
            estimate, pairs = comparison.estimate, len(comparison.used)
            notes = [*([NOT_PROVABLE] if pairs == 1 else []), *comparison.notes]
            unit = str(comparison.unit)
            rows.append(
                (
                    Cell(value=cell.model, href=cell.file),
                    cell.test,
                    number(estimate.ratio if estimate else None, "{:.4f}".format),
                    _interval_cell(comparison.interval),
                    Cell(value=str(cell.judged.verdict), hint="; ".join(notes)),
                    regression.arms_text,
                    *(number(mean, speed_text, unit) for mean in cell.means),
                    count(pairs),
                    *(cell.day, regression.host_slug, cell.where),
                )
            )
    level = f"{100 * (1 - PLANNED.alpha_per_look):.3g} % interval"
    return Table(
        "Baseline → candidate, in pairs",
        (
            *("Model", "Test"),
            *numbers("Ratio", level),
            *("Verdict", "Compared"),
            *numbers("Baseline", "Candidate", "Pairs"),
            *("Measured", "Host class", Column("Where", wide=True)),
        ),
        rows,
    )


def _interval_cell(interval: Interval | None) -> Cell:
    low = interval.low if interval else None
    return number(low, _ends_text(interval), missing="–")


def _ends_text(interval: Interval | None) -> str:
    return f"[{interval.low:.4f}, {interval.high:.4f}]" if interval else ""


@dataclass(frozen=True, kw_only=True, slots=True)
class ComparedTask:
    """The pass rates of two arms at one task, judged again."""

    model: str
    """As tables show it."""
    arms_text: str
    """What differs: `april → current`."""
    where: str
    """What the arms share."""
    record: ComparedTrials
    judged: TrialComparison

    @property
    def task(self) -> str:
        return self.record.case.rpartition("/")[2]

    @property
    def passes_text(self) -> str:
        """Write `passes 5/5 [0.57, 1.00] → 1/5 [0.04, 0.62]`."""
        arms = (self.record.baseline.passes, self.record.candidate.passes)
        return f"passes {' → '.join(map(passes_text, arms))}"


def compared_tasks(
    records: Iterable[ComparedTrials], models: Mapping[str, str]
) -> tuple[ComparedTask, ...]:
    """Judge the newest record of every case with two arms that differ."""
    newest = {(record.host.slug, record.case): record for record in records}
    tasks = []
    for _, record in sorted(newest.items()):
        key, arms, where = _parts_of(record.case.rpartition("/")[0])
        judged = judge_trials(
            record.baseline,
            record.candidate,
            max_turns=record.max_turns,
            broken=record.broken,
        )
        tasks.append(
            ComparedTask(
                model=record.weights.shown_name(models.get(key, key)),
                arms_text=_arms_text(arms),
                where=where,
                record=record,
                judged=judged,
            )
        )
    return tuple(tasks)


def task_table(tasks: Sequence[ComparedTask]) -> Table:
    rows: list[Row] = []
    for task in tasks:
        record, passes = task.record, task.judged.comparison
        rows.append(
            (
                Cell(value=task.model, href=file_of_pairs(record)),
                task.task,
                *(
                    number(
                        arm.passes.rate if arm.passes else None, passes_text(arm.passes)
                    )
                    for arm in (record.baseline, record.candidate)
                ),
                *(
                    number(chance, "{:.3f}".format, missing="–")
                    for chance in (
                        passes.drop_probability if passes else None,
                        passes.rise_probability if passes else None,
                    )
                ),
                Cell(
                    value=str(task.judged.verdict), hint="; ".join(task.judged.breaks)
                ),
                *(task.arms_text, record.measured_at[:10], record.host.slug),
                task.where,
            )
        )
    return Table(
        "Baseline → candidate, trials of an agent",
        (
            *("Model", "Task"),
            *numbers("Baseline passes", "Candidate passes", "P(drop)", "P(rise)"),
            *("Verdict", "Compared", "Measured", "Host class"),
            Column("Where", wide=True),
        ),
        rows,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class PinPoint:
    pin: str
    """Its name, marked where its source is unproven."""
    commit: str
    means: tuple[float, ...]
    """Steady, one for each process."""
    result: Result | None = None
    """None where it was measured in pairs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class History:
    """One test of one model, with the same host class, build and flags at each pin."""

    host_slug: str
    model: str
    """As tables show it."""
    test: SpeedTest
    where: str
    """Build, and sweep or `pairs`."""
    points: tuple[PinPoint, ...]
    """Oldest build first."""


def histories(
    groups: Iterable[Group], runs: Iterable[Run], models: Mapping[str, str]
) -> tuple[History, ...]:
    """Return what was measured of several pins, from records and from pairs."""
    found: dict[_Place, dict[str, PinPoint]] = defaultdict(dict)
    for group in groups:
        for (model, test), result in group.results.items():
            if means := result.steady_means:
                where = f"{group.sweep} sweep, {group.build} build"
                place = group.host_slug, group.shown_name(model), test, where
                found[place][group.pin_text] = PinPoint(
                    pin=group.pin_text,
                    commit=group.records[0].build.commit,
                    means=means,
                    result=result,
                )
    for place, engines in _paired_values(runs, models).items():
        found[place] = {
            pin: PinPoint(pin=pin, commit=commit, means=tuple(values))
            for (pin, commit), values in engines.items()
        }
    return tuple(
        History(
            host_slug=slug,
            model=model,
            test=test,
            where=where,
            points=tuple(
                sorted(
                    points.values(),
                    key=lambda point: (place_in_time(point.commit), point.pin),
                )
            ),
        )
        for (slug, model, test, where), points in found.items()
        if len(points) > 1
    )


_Place = tuple[str, str, SpeedTest, str]
"""Host class, model as shown, test, and where it was measured."""


def _paired_values(
    runs: Iterable[Run], models: Mapping[str, str]
) -> dict[_Place, dict[tuple[str, str], list[float]]]:
    """Collect the processes of pairs by pin; warm-ups and disturbed ones are left out."""
    values: dict[_Place, dict[tuple[str, str], list[float]]]
    values = defaultdict(lambda: defaultdict(list))
    for run in runs:
        if isinstance(run, SpeedRun) and run.pair and run.samples and not run.disturbed:
            _, model, pin, build = run.cell.split("/")[:4]
            key = model.split(".")[0]
            shown = run.weights.kind.shown_name(models.get(key, key))
            place = run.host.slug, shown, run.test, f"pairs, {build} build"
            engine = run.locked.marked(pin), run.build.commit
            values[place][engine].append(statistics.fmean(run.samples))
    return values


def pin_table(found: Sequence[History]) -> Table:
    """Each pin beside the one before it, unpaired: a hint, and never a verdict."""
    rows: list[Row] = []
    for history in found:
        for before, after in pairwise(history.points):
            if not (before.result and after.result):
                continue
            samples = before.means, after.means
            sizes = [len(means) for means in samples]
            logs = [[math.log(value) for value in means] for means in samples]
            ratio = math.exp(statistics.fmean(logs[1]) - statistics.fmean(logs[0]))
            rows.append(
                (
                    *(history.model, history.test.name),
                    *(speed_cell(one.result, speed_text) for one in (before, after)),
                    number(ratio, "{:.4f}".format),
                    _interval_cell(welch_interval(*logs)),
                    NOT_PROVABLE if 1 in sizes else UNPAIRED,
                    *(f"{before.pin} → {after.pin}", history.host_slug),
                    number(min(sizes), ", ".join(map(str, sizes))),
                    history.where,
                )
            )
    return Table(
        "Pins one after the other, not paired",
        (
            *("Model", "Test"),
            *numbers("Before", "After", "Ratio", "95 % (Welch)"),
            Column("Verdict", wide=True),
            *("Pins", "Host class"),
            *numbers("n"),
            "Where",
        ),
        rows,
    )


def welch_interval(
    before: Sequence[float], after: Sequence[float], *, alpha: float = 0.05
) -> Interval | None:
    """Return the interval of the ratio of two samples of logs (Welch, Biometrika 1947).

    None where one has a single value, or where neither shows any spread.
    """
    samples = (before, after)
    if min(map(len, samples)) < 2:  # noqa: PLR2004
        return None
    errors = [statistics.variance(logs) / len(logs) for logs in samples]
    if not sum(errors):
        return None
    degrees = sum(errors) ** 2 / sum(
        error**2 / (len(logs) - 1) for error, logs in zip(errors, samples, strict=True)
    )
    half = t_quantile(1 - alpha / 2, degrees) * math.sqrt(sum(errors))
    return ratio_interval(statistics.fmean(after) - statistics.fmean(before), half)
