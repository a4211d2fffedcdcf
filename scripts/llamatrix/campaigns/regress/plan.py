"""Before the first pair: how long it will take, and what it will be able to see."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from llamatrix.campaigns.regress.ledger import WARM_UP, Entry, pairs_of
from llamatrix.campaigns.regress.process import Running
from llamatrix.units import duration_text
from llamatrix.verdict.looks import Looks
from llamatrix.verdict.metric import Unit
from llamatrix.verdict.pairs import Arm, log_ratios
from llamatrix.verdict.power import smallest_effect

_FEW = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Outlook:
    """What can be known of a case from its warm-up or from earlier pairs."""

    case: str
    pair_s: float
    repetitions: int
    complete: int
    """Pairs that this series has already."""
    sd_log: float | None
    """Of the paired log-ratios; None while too few processes have run."""
    source: str
    """Where the deviation comes from."""


def outlook(running: Running) -> Outlook:
    sd_log, source = _deviation(running)
    return Outlook(
        case=running.case.id,
        pair_s=2 * running.process_s,
        repetitions=running.repetitions,
        complete=sum(pair.complete for pair in running.pairs),
        sd_log=sd_log,
        source=source,
    )


def plan_lines(
    outlooks: Sequence[Outlook],
    *,
    looks: Looks,
    margins: Mapping[str, float],
    budget_s: float,
) -> list[str]:
    """One line on time, then one for each case on what it could see.

    The smallest effects are those of a case that Holm tries first: at the alpha of
    one look, divided by the number of cases.
    """
    first, last = (
        sum(one.pair_s * max(0, count - one.complete) for one in outlooks)
        for count in (looks.pairs[0], looks.pairs[-1])
    )
    numbers = ", ".join(map(str, looks.pairs))
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
        _sight(one, looks, margins[one.case], len(outlooks)) for one in outlooks
    ]


def _sight(one: Outlook, looks: Looks, margin: float, cases: int) -> str:
    begin = (
        f"plan: {one.case}: {one.repetitions} repetitions, a pair takes "
        f"{duration_text(one.pair_s)}"
    )
    if one.sd_log is None:
        return f"{begin}; too little is known of its noise"
    alpha = looks.alpha_per_look / cases
    seen = [
        smallest_effect(sd_log=one.sd_log, pairs=count, margin=margin, alpha=alpha)
        for count in looks.pairs
    ]
    effects = ", ".join(
        f"{100 * effect:.2g} % after {count}"
        for effect, count in zip(seen, looks.pairs, strict=True)
        if effect is not None
    )
    return (
        f"{begin}, noise of a pair {100 * one.sd_log:.2g} % ({one.source}); would see a "
        f"loss of {effects} pairs"
    )


def _deviation(running: Running) -> tuple[float | None, str]:
    """From earlier pairs where there are some, else from the warm-up.

    Two independent processes differ by sqrt(2) times what one varies by; pairs that
    run next to each other differ by less where the machine drifts, so this is careful.
    """
    for series in range(running.series, 0, -1):
        complete = [
            pair for pair in pairs_of(running.entries, series=series) if pair.complete
        ]
        if len(complete) >= _FEW:
            ratios = log_ratios(complete, Unit.TOKENS_PER_S)
            return statistics.stdev(ratios), f"{len(complete)} earlier pairs"
    warm = [math.log(value) for entry in running.own if (value := _warm_value(entry))]
    del warm[:1]  # of the shortest and coldest process
    if len(warm) < _FEW:
        return None, ""
    return math.sqrt(2) * statistics.stdev(warm), "from the warm-up"


def _warm_value(entry: Entry) -> float | None:
    baseline = entry.pair == WARM_UP and entry.arm is Arm.BASELINE
    return entry.value if baseline else None
