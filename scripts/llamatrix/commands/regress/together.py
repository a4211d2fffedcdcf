"""All cases of a comparison run, and one answer made of them."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

from llamatrix.commands.regress.arms import Compared
from llamatrix.commands.regress.conduct import conduct
from llamatrix.commands.regress.paired import Paired
from llamatrix.commands.regress.plan import outlook, plan_lines
from llamatrix.commands.regress.request import Request
from llamatrix.commands.regress.warm_up import warm_up
from llamatrix.host import this_host
from llamatrix.progress import say
from llamatrix.report.regress import ArmFacts, Regression, Timing
from llamatrix.stats.pairs import Arm, Samples
from llamatrix.stats.sequential import (
    Headline,
    JudgedCell,
    Judgement,
    PairedComparison,
    SequentialTest,
    headline,
    judge_cases,
    judge_cells,
    session_estimate,
)
from llamatrix.stats.verdict import Metric, most_severe

_WARM_UP_SHARE = 0.25
"""Of the budget; after it each arm is still started once."""


def answer_of(
    cases: Sequence[Compared],
    ready: Sequence[Paired],
    unready: Mapping[str, PairedComparison],
    request: Request,
    *,
    profile: str,
    servers: Mapping[Arm, str] | None = None,
) -> Regression:
    """Run what is ready until every word stands or the budget ends.

    `servers` names the flags of replays.
    """
    begin = time.monotonic()
    sessions = {one.session: one for one in reversed(ready)}
    overall = _measured(ready, request, begin)
    spent_s = [seconds for one in sessions.values() for seconds in one.spent_s]
    if not spent_s and any(one.known for one in ready):
        say("nothing measured: every pair is known; --again begins a new series")
    return Regression(
        baseline=_facts(cases, Arm.BASELINE, servers),
        candidate=_facts(cases, Arm.CANDIDATE, servers),
        identical=all(case.identical for case in cases),
        profile=profile,
        host=this_host().summary,
        sequential=request.sequential,
        overall=_with(overall, unready, cases),
        headline=_headline(ready, overall, request.sequential),
        timing=Timing(
            wall_s=time.monotonic() - begin,
            processes_s=sum(spent_s),
            processes=len(spent_s),
        ),
    )


def say_plan(cases: Sequence[Paired], request: Request) -> None:
    """Time and sight; cases of one session share its processes, and its time."""
    first = {one.session: one.id for one in reversed(cases)}
    for line in plan_lines(
        [outlook(one, costs=first[one.session] == one.id) for one in cases],
        sequential=request.sequential,
        margins={one.id: request.margin_of(one.metric) for one in cases},
        budget_s=request.budget_s,
    ):
        say(line)


def _measured(ready: Sequence[Paired], request: Request, begin: float) -> Judgement:
    """Warm up what has pairs to come, say the plan, run it; settled cases stay."""
    margins = {one.id: request.margin_of(one.metric) for one in ready}
    judged = judge_cases(
        {one.id: Samples(unit=one.metric.unit, pairs=one.pairs) for one in ready},
        margins=margins,
        sequential=request.sequential,
    )
    waiting = [one for one in ready if judged.next_pairs[one.id] is not None]
    for one in {one.session: one for one in reversed(waiting)}.values():
        say(f"warming up {one.session}")
        warm_up(one, until=begin + _WARM_UP_SHARE * request.budget_s)
    if waiting:
        say_plan(waiting, request)
    done = conduct(
        ready,
        margins=margins,
        sequential=request.sequential,
        deadline=begin + request.budget_s,
    )
    overall = done.judged
    notes = {one.id: (*done.notes.get(one.id, ()), *one.failures) for one in ready}
    return replace(
        overall,
        cells=tuple(_noted(cell, notes[cell.id]) for cell in overall.cells),
    )


def _headline(
    ready: Sequence[Paired], overall: Judgement, sequential: SequentialTest
) -> Headline | None:
    """Return the mean over sessions; metrics of the same processes are one session.

    The time to the first token of a replay is its prompt speed again, so it is left
    out beside that. A session's pairs count up to the look that settled its last
    metric; None where no session has a complete pair.
    """
    last = {cell.id: max(cell.comparison.used, default=0) for cell in overall.cells}
    sessions: dict[str, list[Paired]] = {}
    for one in ready:
        sessions.setdefault(one.session, []).append(one)
    estimates = []
    for cases in sessions.values():
        settled = max(last[one.id] for one in cases)
        prompt = any(one.metric is Metric.PROMPT for one in cases)
        found = session_estimate(
            [
                (
                    one.metric.unit,
                    [pair for pair in one.pairs if pair.number <= settled],
                )
                for one in cases
                if not (prompt and one.metric is Metric.FIRST_TOKEN)
            ]
        )
        if found:
            estimates.append(found)
    return headline(estimates, alpha=sequential.alpha_per_look) if estimates else None


def _noted(cell: JudgedCell, notes: tuple[str, ...]) -> JudgedCell:
    return JudgedCell(
        id=cell.id,
        verdict=cell.verdict,
        adjusted_p=cell.adjusted_p,
        comparison=cell.comparison.with_notes(*notes),
    )


def _with(
    measured: Judgement,
    unready: Mapping[str, PairedComparison],
    cases: Sequence[Compared],
) -> Judgement:
    """All cases in their order; those that could not be tested take no share of Holm."""
    cells = {cell.id: cell for cell in measured.cells}
    cells |= {cell.id: cell for cell in judge_cells(unready).cells}
    ordered = tuple(cells[case.id] for case in cases)
    return Judgement(
        verdict=most_severe(cell.verdict for cell in ordered), cells=ordered
    )


def _facts(
    cases: Sequence[Compared], arm: Arm, servers: Mapping[Arm, str] | None
) -> ArmFacts:
    cells = [case.cells[arm] for case in cases]
    return ArmFacts(
        pin=cells[0].pin_key,
        commit=cells[0].locked.commit,
        builds=tuple(dict.fromkeys(cell.build_key for cell in cells)),
        sweep="" if servers else cells[0].sweep_key,
        server=servers[arm] if servers else "",
    )
