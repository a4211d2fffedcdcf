"""What the published tables leave out: rates with intervals, spread, parts, times."""

import statistics
from collections.abc import Callable, Iterator, Sequence

from llamatrix.proxy.wire_api import Breakdown
from llamatrix.report.tables import Table
from llamatrix.report.trial_amounts import (
    GENERATED_TOKENS,
    PUBLISHED,
    TIMES,
    TRIAL_TIME,
    count_text,
    number_text,
    trial_energy,
)
from llamatrix.report.trial_tables import shown_name, titled
from llamatrix.report.trials import TrialGroup, Trials, prompt_title
from llamatrix.stats.intervals import Interval
from llamatrix.stats.pass_rates import turn_curve, wilson

_HEAD = ("Model", "Prompt")


def own_tables(group: TrialGroup) -> tuple[Table, ...]:
    """Those with rows."""
    every = (
        _pass_rate(group),
        _curve(group),
        _spread(group),
        _tokens(group),
        _times(group),
        _energy(group),
    )
    return tuple(table for table in every if table.rows)


def each_cell(group: TrialGroup) -> Iterator[tuple[tuple[str, str], Trials]]:
    """Model and prompt as rows name them, and their trials."""
    for (model, task), trials in group.trials.items():
        yield (shown_name(group, model), prompt_title(task)), trials


def interval_text(interval: Interval) -> str:
    return f"[{interval.low:.2f}, {interval.high:.2f}]"


def _pass_rate(group: TrialGroup) -> Table:
    rows = []
    for head, trials in each_cell(group):
        passes = trials.passes
        rows.append(
            (
                *head,
                f"{passes.passed}/{passes.trials}" if passes else "0/0",
                f"{passes.rate:.2f}" if passes else "n/a",
                interval_text(wilson(passes)) if passes else "n/a",
                *map(str, (trials.undecided, trials.broken, trials.not_run)),
            )
        )
    return Table(
        title=titled("Pass rate", group),
        header=(
            *(*_HEAD, "Passed", "Rate", "95 % interval (Wilson)"),
            *("Undecided", "Broken", "Not run"),
        ),
        rows=tuple(rows),
        right=(2, 3, 4, 5, 6, 7),
    )


def _curve(group: TrialGroup) -> Table:
    """P(correct by turn t); trials that never were are censored at the last turn."""
    longest = max(trials.max_turns for trials in group.trials.values())
    rows = []
    for head, trials in each_cell(group):
        if not trials.turns:
            continue
        curve = turn_curve(trials.turns, max_turns=trials.max_turns)
        cells = [f"{one.share:.2f} {interval_text(one.band)}" for one in curve.points]
        cells += [""] * (longest - len(cells))
        lost = trials.undecided + trials.broken + trials.not_run
        rows.append((*head, *cells, *map(str, (curve.trials, curve.censored, lost))))
    turns = tuple(f"By turn {number}" for number in range(1, longest + 1))
    return Table(
        title=titled("Correct by turn", group),
        header=(*_HEAD, *turns, "Trials scored", "Censored", "Not scored"),
        rows=tuple(rows),
        right=tuple(range(2, longest + 5)),
    )


def _spread(group: TrialGroup) -> Table:
    rows = []
    for head, trials in each_cell(group):
        for amount in (*PUBLISHED, TRIAL_TIME):
            values = amount.values(trials)
            if len(values) > 1:
                low, middle, high = min(values), statistics.median(values), max(values)
                cells = (amount.text(value) for value in (low, middle, high))
                rows.append((*head, amount.name, *cells, str(len(values))))
    return Table(
        title=titled("Spread over trials", group),
        header=(*_HEAD, "Amount", "Least", "Median", "Most", "n"),
        rows=tuple(rows),
        right=(3, 4, 5, 6),
    )


_PARTS: tuple[tuple[str, Callable[[Breakdown], int]], ...] = (
    ("System", lambda one: one.system),
    ("Tools offered", lambda one: one.tools),
    ("User", lambda one: one.user),
    ("Assistant", lambda one: one.assistant),
    ("Reasoning", lambda one: one.reasoning),
    ("Tool results", lambda one: one.tool_results),
    ("Together", lambda one: one.total),
)


def _tokens(group: TrialGroup) -> Table:
    rows = []
    for head, trials in each_cell(group):
        found = [one.result.tokens for one in trials.finished if one.result.tokens]
        if found:
            medians = (_median([part(one) for one in found]) for _, part in _PARTS)
            rows.append((*head, *medians, str(len(found))))
    return Table(
        title=titled("Tokens of the conversation", group),
        header=(*_HEAD, *(name for name, _ in _PARTS), "n"),
        rows=tuple(rows),
        right=tuple(range(2, len(_PARTS) + 3)),
    )


def _times(group: TrialGroup) -> Table:
    return Table(
        title=titled("Where the time went", group),
        header=(*_HEAD, *(each.name for each in TIMES), GENERATED_TOKENS.name, "n"),
        rows=tuple(
            (
                *head,
                *(each.cell(trials) for each in (*TIMES, GENERATED_TOKENS)),
                count_text(trials),
            )
            for head, trials in each_cell(group)
            if trials.finished
        ),
        right=tuple(range(2, len(TIMES) + 4)),
    )


def _energy(group: TrialGroup) -> Table:
    """Of trials on a card: from the loaded model to the end of the analysis."""
    rows = []
    for head, trials in each_cell(group):
        found = [one for record in trials.finished if (one := trial_energy(record))]
        if found:
            rows.append(
                (
                    *head,
                    f"{statistics.median(one.joules for one in found):,.0f}",
                    f"{statistics.median(one.mean_w for one in found):,.0f}",
                    str(len(found)),
                    ", ".join(sorted({one.source for one in found})),
                )
            )
    return Table(
        title=titled("Energy of the cards", group),
        header=(*_HEAD, "Joules a trial", "Mean power (W)", "n", "From"),
        rows=tuple(rows),
        right=(2, 3, 4),
    )


def _median(values: Sequence[int]) -> str:
    return number_text(statistics.median(values))
