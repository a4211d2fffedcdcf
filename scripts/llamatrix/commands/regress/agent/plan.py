"""Before the first trial: how much is to be made, and what so many trials could show."""

from collections.abc import Sequence

from llamatrix.commands.regress.agent.sample import Sample
from llamatrix.stats.pairs import Arm
from llamatrix.stats.pass_rates import (
    false_alarms,
    most_called,
    smallest_drop,
    trials_for_same,
)
from llamatrix.units import duration_text


def plan_lines(samples: Sequence[Sample], *, trials: int, budget_s: float) -> list[str]:
    due = {one.case.id: one.due() for one in samples}
    count = sum(len(places) for places in due.values())
    total = len(samples) * trials * len(Arm)
    work = (
        f"plan: cells: {len(samples)}, trials of each arm: {trials}: {count} to make, "
        f"{total - count} known; budget {duration_text(budget_s)}"
    )
    known = [(one, arm) for one in samples for arm, _ in due[one.case.id]]
    times = [one.mean_s(arm) for one, arm in known]
    if not count or not all(times):
        return [work, *sight(trials, cells=len(samples))]
    took = f"plan: all in {duration_text(sum(times))}, as earlier trials took"
    return [work, took, *sight(trials, cells=len(samples))]


def sight(trials: int, *, cells: int) -> list[str]:
    """What this run could see, and how often it would be wrong."""
    most, drop = most_called(trials), smallest_drop(trials)
    if most is None or drop is None:
        enough = next(n for n in range(trials, 100) if most_called(n) is not None)
        none = (
            f"plan: no drop can be called with {trials} of each arm: at least {enough} "
            "are needed (--trials)"
        )
        return [none]
    one = false_alarms(trials)
    fewer = " or fewer" if most else ""
    seen = (
        f"plan: of a baseline of {trials}/{trials}, {most}/{trials}{fewer} would be "
        "called worse; the smallest true drop that 4 of 5 such runs would call: "
        f"{100 * drop:.0f} points"
    )
    wrong = (
        f"plan: equal arms are called worse in at most {100 * one:.1f} % of runs for "
        f"one cell, {100 * (1 - (1 - one) ** cells):.1f} % for any of {cells}; "
        f"perfect arms are called the same from {trials_for_same()} trials on"
    )
    return [seen, wrong]
