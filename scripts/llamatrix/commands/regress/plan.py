"""Before the first pair: how long it will take, and what it will be able to see."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from llamatrix.commands.regress.paired import Paired
from llamatrix.stats.pairs import log_ratios
from llamatrix.stats.power import smallest_effect, upper_sd
from llamatrix.stats.sequential import SequentialTest
from llamatrix.units import duration_text

_FEW = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Outlook:
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


def outlook(running: Paired, *, costs: bool) -> Outlook:
    sd_log, values, source = _deviation(running)
    return Outlook(
        case=running.id,
        pair_s=2 * running.process_s,
        work=running.work,
        complete=sum(pair.complete for pair in running.pairs),
        sd_log=sd_log,
        values=values,
        source=source,
        costs=costs,
    )


def plan_lines(
    outlooks: Sequence[Outlook],
    *,
    sequential: SequentialTest,
    margins: Mapping[str, float],
    budget_s: float,
) -> list[str]:
    """One line on time, then one for each case on what it could see.

    The smallest effects are those of a case that Holm tries first: at the alpha of
    one look, divided by the number of cases.
    """
    first, last = (
        sum(one.pair_s * max(0, count - one.complete) for one in outlooks if one.costs)
        for count in (sequential.looks[0], sequential.looks[-1])
    )
    numbers = ", ".join(map(str, sequential.looks))
    time = (
        f"plan: cells: {len(outlooks)}, looks after {numbers} pairs: all at the first "
        f"look in {duration_text(first)}, at the last in {duration_text(last)}; budget "
        f"{duration_text(budget_s)}"
    )
    lines = [time]
    if first > budget_s:
        lines.append(
            "plan: the budget ends before the first look; narrow --cells or raise "
            "--budget (pairs are kept, the same command goes on from there)"
        )
    return lines + [
        _sight(one, sequential, margins[one.case], len(outlooks)) for one in outlooks
    ]


def _sight(one: Outlook, sequential: SequentialTest, margin: float, cases: int) -> str:
    begin = f"plan: {one.case}: {one.work}, a pair takes {duration_text(one.pair_s)}"
    if not one.sd_log:
        return f"{begin}; too little is known of its noise"
    alpha = sequential.alpha_per_look / cases
    sd_log = upper_sd(one.sd_log, values=one.values)
    seen = [
        smallest_effect(sd_log=sd_log, pairs=count, margin=margin, alpha=alpha)
        for count in sequential.looks
    ]
    effects = ", ".join(
        f"{100 * effect:.2g} % after {count}"
        for effect, count in zip(seen, sequential.looks, strict=True)
        if effect is not None
    )
    return (
        f"{begin}, noise of a pair {100 * one.sd_log:.2g} % ({one.source}); would see a "
        f"loss of {effects} pairs"
    )


def _deviation(running: Paired) -> tuple[float | None, int, str]:
    """From how many earlier pairs where there are some, else from the warm-up.

    Two independent processes differ by sqrt(2) times what one varies by; pairs that
    run next to each other differ by less where the machine drifts, so this is careful.
    """
    for series in range(running.series, 0, -1):
        complete = [pair for pair in running.pairs_in(series) if pair.complete]
        if len(complete) >= _FEW:
            ratios = log_ratios(complete, running.metric.unit)
            source = f"{len(complete)} earlier pairs"
            return statistics.stdev(ratios), len(ratios), source
    warm = [math.log(value) for value in running.warm_values]
    del warm[:1]  # of the shortest and coldest process
    if len(warm) < _FEW:
        return None, 0, ""
    return math.sqrt(2) * statistics.stdev(warm), len(warm), "from the warm-up"
