"""What the published tables leave out: rates with intervals, spread, parts, times."""

import statistics

from llamatrix.report.formats import number_text, whole
from llamatrix.report.metrics import RESULTS, TIMES, TRIAL_TIME, trial_energy
from llamatrix.report.table import Cell, Row, Table, count, number, numbers
from llamatrix.report.trials import TrialGroup, Trials
from llamatrix.stats.intervals import Interval
from llamatrix.stats.pass_rates import turn_curve, wilson

_HEAD = ("Model", "Prompt")


def detail_tables(group: TrialGroup) -> tuple[Table, ...]:
    """Those with rows; the pass rate comes first, the curve second."""
    every = (
        *(_pass_rate(group), _curve(group), _spread(group)),
        *(_tokens(group), _times(group), _energy(group)),
    )
    return tuple(table for table in every if table.rows)


def interval_text(interval: Interval) -> str:
    return f"[{interval.low:.2f}, {interval.high:.2f}]"


def pass_cells(trials: Trials) -> tuple[Cell, Cell, Cell]:
    """Passed of scored, the rate, and its interval."""
    passes, records = trials.passes, trials.finished
    if passes is None:
        return number(None, str, missing="0/0"), number(None, str), number(None, str)
    interval = wilson(passes)
    return (
        number(passes.rate, f"{passes.passed}/{passes.trials}", records=records),
        number(passes.rate, "{:.2f}".format, records=records),
        number(interval.low, interval_text(interval), records=records),
    )


def _pass_rate(group: TrialGroup) -> Table:
    rows: list[Row] = [
        (
            *(*head, *pass_cells(trials)),
            *map(count, (trials.undecided, trials.broken, trials.not_run)),
        )
        for head, trials in group.by_cell()
    ]
    return Table(
        group.caption("Pass rate"),
        (
            *_HEAD,
            *numbers("Passed", "Rate", "95 % interval (Wilson)"),
            *numbers("Undecided", "Broken", "Not run"),
        ),
        rows,
    )


def _curve(group: TrialGroup) -> Table:
    """P(correct by turn t); trials that never were are censored at the last turn."""
    longest = max(trials.max_turns for trials in group.trials.values())
    rows: list[Row] = []
    for head, trials in group.by_cell():
        if not trials.turns:
            continue
        curve = turn_curve(trials.turns, max_turns=trials.max_turns)
        cells = [
            number(
                point.share,
                f"{point.share:.2f} {interval_text(point.band)}",
                records=trials.finished,
            )
            for point in curve.points
        ]
        lost = trials.undecided + trials.broken + trials.not_run
        blank = [Cell(value="")] * (longest - len(cells))
        counts = map(count, (curve.trials, curve.censored, lost))
        rows.append((*head, *cells, *blank, *counts))
    turns = (f"By turn {turn}" for turn in range(1, longest + 1))
    return Table(
        group.caption("Correct by turn"),
        (*_HEAD, *numbers(*turns, "Trials scored", "Censored", "Not scored")),
        rows,
    )


def _spread(group: TrialGroup) -> Table:
    rows: list[Row] = []
    for head, trials in group.by_cell():
        for metric in (*RESULTS, TRIAL_TIME):
            values = metric.values(trials)
            if len(values) > 1:
                cells = (
                    number(value, metric.format, metric.unit, records=trials.finished)
                    for value in (min(values), statistics.median(values), max(values))
                )
                rows.append((*head, metric.name, *cells, count(len(values))))
    return Table(
        group.caption("Spread over trials"),
        (*_HEAD, "Amount", *numbers("Least", "Median", "Most", "n")),
        rows,
    )


_PARTS = {
    "System": "system",
    "Tools offered": "tools",
    "User": "user",
    "Assistant": "assistant",
    "Reasoning": "reasoning",
    "Tool results": "tool_results",
    "Together": "total",
}
"""Columns and the fields of `Breakdown` that they show."""


def _tokens(group: TrialGroup) -> Table:
    rows: list[Row] = []
    for head, trials in group.by_cell():
        records = tuple(record for record in trials.finished if record.result.tokens)
        tokens = [record.result.tokens for record in records if record.result.tokens]
        if tokens:
            medians = (
                number(
                    statistics.median(getattr(each, part) for each in tokens),
                    number_text,
                    "tokens",
                    records=records,
                )
                for part in _PARTS.values()
            )
            rows.append((*head, *medians, count(len(tokens))))
    return Table(
        group.caption("Tokens of the conversation"),
        (*_HEAD, *numbers(*_PARTS, "n")),
        rows,
    )


def _times(group: TrialGroup) -> Table:
    rows: list[Row] = [
        (*head, *(metric.cell(trials) for metric in TIMES), trials.count_text)
        for head, trials in group.by_cell()
        if trials.finished
    ]
    return Table(
        group.caption("Where the time went"),
        (*_HEAD, *numbers(*(metric.name for metric in TIMES), "n")),
        rows,
    )


def _energy(group: TrialGroup) -> Table:
    """Of trials on a card: from the loaded model to the end of the analysis."""
    rows: list[Row] = []
    for head, trials in group.by_cell():
        records = tuple(record for record in trials.finished if trial_energy(record))
        energies = [energy for record in records if (energy := trial_energy(record))]
        if energies:
            joules = statistics.median(record.joules for record in energies)
            watts = statistics.median(record.mean_w for record in energies)
            rows.append(
                (
                    *head,
                    number(joules, whole, "J", records=records),
                    number(watts, whole, "W", records=records),
                    count(len(energies)),
                    ", ".join(sorted({record.source for record in energies})),
                )
            )
    return Table(
        group.caption("Energy of the cards"),
        (*_HEAD, *numbers("Joules a trial", "Mean power (W)", "n"), "From"),
        rows,
    )
