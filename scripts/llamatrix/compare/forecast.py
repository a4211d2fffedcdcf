"""Before the first pair: how long a comparison takes, and what it will be able to detect."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from llamatrix.compare.session import MetricCase
from llamatrix.stats.pairs import log_ratios
from llamatrix.stats.pass_rates import (
    false_alarms,
    most_called,
    smallest_drop,
    trials_for_same,
)
from llamatrix.stats.power import smallest_effect, upper_sd
from llamatrix.stats.sequential import SequentialTest
from llamatrix.units import duration_text

_FEW = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Forecast:
    """What can be known of a case from its warm-up or from earlier pairs."""

    case: str
    pair_s: float
    work: str
    """What one process does, in words."""
    complete: int
    """Pairs that this series has already."""
    sd_log: float | None
    """Of the paired log-ratios; None while too few processes have run."""
    values: int
    """How many values the deviation is estimated from."""
    source: str
    """Where the deviation comes from."""
    costs: bool = True
    """Whether its pairs take time of their own: other metrics come with one's pairs."""


def forecast(case: MetricCase, *, costs: bool) -> Forecast:
    sd_log, values, source = _deviation(case)
    return Forecast(
        case=case.id,
        pair_s=case.pair_s,
        work=case.session.subject.work(case.session.ledger.own),
        complete=case.complete,
        sd_log=sd_log,
        values=values,
        source=source,
        costs=costs,
    )


def _deviation(case: MetricCase) -> tuple[float | None, int, str]:
    """Estimate it from earlier pairs where there are enough, else from the warm-up.

    Two independent processes differ by sqrt(2) times what one varies by; pairs that
    run next to each other differ by less where the machine drifts, so this is careful.
    """
    for series in range(case.session.ledger.series, 0, -1):
        complete = [pair for pair in case.pairs_in(series) if pair.complete]
        if len(complete) >= _FEW:
            ratios = log_ratios(complete, case.metric.unit)
            source = f"{len(complete)} earlier pairs"
            return statistics.stdev(ratios), len(ratios), source
    warm = [math.log(value) for value in case.warm_values]
    del warm[:1]  # of the shortest and coldest process
    if len(warm) < _FEW:
        return None, 0, ""
    return math.sqrt(2) * statistics.stdev(warm), len(warm), "from the warm-up"


def forecast_lines(
    forecasts: Sequence[Forecast],
    *,
    sequential: SequentialTest,
    margins: Mapping[str, float],
    budget_s: float,
) -> list[str]:
    """One line on time, then one for each case on the effect that it could detect.

    The smallest effects are those of a case that Holm tries first: at the alpha of
    one look, divided by the number of cases.
    """
    first, last = (
        sum(
            item.pair_s * max(0, count - item.complete)
            for item in forecasts
            if item.costs
        )
        for count in (sequential.looks[0], sequential.looks[-1])
    )
    numbers = ", ".join(map(str, sequential.looks))
    time = (
        f"plan: cells: {len(forecasts)}, looks after {numbers} pairs: all at the first "
        f"look in {duration_text(first)}, at the last in {duration_text(last)}; budget "
        f"{duration_text(budget_s)}"
    )
    lines = [time]
    if first > budget_s:
        lines.append(
            "plan: the budget ends before the first look; narrow --cells or raise "
            "--budget (pairs are kept, the same command goes on from there)"
        )
    for item in forecasts:
        line = (
            f"plan: {item.case}: {item.work}, a pair takes {duration_text(item.pair_s)}"
        )
        if not item.sd_log:
            lines.append(f"{line}; too little is known of its noise")
            continue
        sd_log = upper_sd(item.sd_log, values=item.values)
        detected = {
            count: smallest_effect(
                sd_log=sd_log,
                pairs=count,
                margin=margins[item.case],
                alpha=sequential.alpha_per_look / len(forecasts),
            )
            for count in sequential.looks
        }
        effects = ", ".join(
            f"{100 * effect:.2g} % after {count}"
            for count, effect in detected.items()
            if effect is not None
        )
        lines.append(
            f"{line}, noise of a pair {100 * item.sd_log:.2g} % ({item.source}); would see "
            f"a loss of {effects} pairs"
        )
    return lines


def detectable_drop_lines(trials: int, *, cells: int) -> list[str]:
    """Say what `trials` trials of each arm could detect, and how often they are wrong."""
    most, drop = most_called(trials), smallest_drop(trials)
    if most is None or drop is None:
        enough = next(n for n in range(trials, 100) if most_called(n) is not None)
        none = (
            f"plan: no drop can be called with {trials} of each arm: at least {enough} "
            "are needed (--trials)"
        )
        return [none]
    alarm = false_alarms(trials)
    fewer = " or fewer" if most else ""
    detected = (
        f"plan: of a baseline of {trials}/{trials}, {most}/{trials}{fewer} would be "
        "called worse; the smallest true drop that 4 of 5 such runs would call: "
        f"{100 * drop:.0f} points"
    )
    wrong = (
        f"plan: equal arms are called worse in at most {100 * alarm:.1f} % of runs for "
        f"one cell, {100 * (1 - (1 - alarm) ** cells):.1f} % for any of {cells}; "
        f"perfect arms are called the same from {trials_for_same()} trials on"
    )
    return [detected, wrong]
