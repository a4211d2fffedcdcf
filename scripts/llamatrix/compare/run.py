"""The one run loop: pairs of all cases until each has a verdict or the budget ends."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from llamatrix.compare.forecast import forecast, forecast_lines
from llamatrix.compare.session import ArmCells, MetricCase, Session
from llamatrix.config.cell import Cell
from llamatrix.config.endpoint_cell import EndpointCell
from llamatrix.engines.endpoint.client import Reported
from llamatrix.host import this_host
from llamatrix.progress import meter, say
from llamatrix.stats.pairs import Arm
from llamatrix.stats.sequential import (
    PLANNED,
    Headline,
    Judgement,
    PairedComparison,
    SequentialTest,
    headline,
    judge_cases,
    judge_cells,
    session_estimate,
)
from llamatrix.stats.verdict import Metric, Verdict, most_severe

BUDGET_S = 1200.0
_WARM_UP_SHARE = 0.25
"""Of the budget; after it each arm is still started once."""


class Case(Protocol):
    """One thing with a verdict of its own, whatever its pairs are made of."""

    @property
    def id(self) -> str: ...
    @property
    def complete(self) -> int:
        """Pairs that count."""
        ...

    @property
    def pair_s(self) -> float:
        """How long the next pair is expected to take; 0 where nothing is known."""
        ...

    def stop_reason(self) -> str | None:
        """Why it gets no more pairs, empty where its verdict says so; None to go on."""
        ...

    def over_budget(self, left_s: float) -> str:
        """Say that the next pair does not fit into what is left of the budget."""
        ...

    def run_pair(self) -> str:
        """Run both arms, each on disk when it ends; return a note for the meter."""
        ...


def run_pairs(
    cases: Sequence[Case],
    *,
    targets: Callable[[], Mapping[str, int | None]],
    total: int,
    deadline: float,
) -> dict[str, str]:
    """Run pairs until no case wants more; return by case why it stopped before that.

    `targets` says how many complete pairs each case needs next, None for enough. Cases
    take turns: all reach the lowest target before one gets further. A pair is begun only
    where it is expected to end before the deadline, and it is on disk before the next,
    so that any end, Ctrl-C included, loses at most the process that runs.
    """
    stopped: dict[str, str] = {}
    with meter("pairs", total=total) as progress:
        while True:
            wanted = {
                case: count
                for case, count in targets().items()
                if count is not None and case not in stopped
            }
            if not wanted:
                return stopped
            target = min(wanted.values())
            for case in cases:
                while wanted.get(case.id) == target and case.complete < target:
                    reason = case.stop_reason()
                    if reason is None and time.monotonic() + case.pair_s > deadline:
                        reason = case.over_budget(deadline - time.monotonic())
                    if reason:
                        stopped[case.id] = reason
                        say(f"{case.id}: {reason}")
                    if reason is not None:
                        break
                    if note := case.run_pair():
                        progress.advance(note=note)


@dataclass(frozen=True, kw_only=True, slots=True)
class RunSettings:
    """How a comparison by timing runs and judges."""

    budget_s: float = BUDGET_S
    margin: float | None = None
    """None takes each metric's own."""
    sequential: SequentialTest = PLANNED

    def margin_of(self, metric: Metric) -> float:
        return metric.margin if self.margin is None else self.margin


@dataclass(frozen=True, kw_only=True, slots=True)
class ArmFacts:
    """What identifies an arm to a reader; what a subject does not have is empty."""

    pin: str
    commit: str
    builds: tuple[str, ...]
    sweep: str = ""
    draft: str = ""
    server: str = ""
    templates: tuple[str, ...] = ()
    """Of the models, each once; only of agents, like the two fields below."""
    agent: str = ""
    """Name and version: `OpenCode 1.3.2`."""
    context7: str = ""
    reported: str | None = None
    """What an endpoint says of itself; the pin is then its key in the matrix, and
    commit and build are not told."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelAmounts:
    """What the model of an arm takes in one case, where the arms have two models."""

    case: str
    arm: Arm
    model: str
    file_bytes: int
    memory_bytes: int | None
    """Of the card where one computes, else of the process: the most of any run."""
    joules_per_token: float | None
    """The median of the runs; None without a card that tells."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TimingComparison:
    baseline: ArmFacts
    candidate: ArmFacts
    identical: bool
    """Both arms are the same: what is measured is the noise."""
    profile: str
    host: str
    sequential: SequentialTest
    judgement: Judgement
    headline: Headline | None
    wall_s: float
    """From the first warm-up to the verdict."""
    processes_s: float
    """Wall time of the processes of this run alone, warm-up included."""
    processes: int
    models: tuple[ModelAmounts, ...] = ()

    @property
    def verdict(self) -> Verdict:
        return self.judgement.verdict


def say_forecast(cases: Sequence[MetricCase], settings: RunSettings) -> None:
    """Say how long it takes and what it could detect, case by case."""
    first = {case.session.subject.id: case.id for case in reversed(cases)}
    lines = forecast_lines(
        [
            forecast(case, costs=first[case.session.subject.id] == case.id)
            for case in cases
        ],
        sequential=settings.sequential,
        margins={case.id: settings.margin_of(case.metric) for case in cases},
        budget_s=settings.budget_s,
    )
    for line in lines:
        say(line)


def compare_speeds(
    compared: Mapping[str, ArmCells],
    sessions: Sequence[Session[Any]],
    unready: Mapping[str, PairedComparison],
    settings: RunSettings,
    *,
    profile: str,
    servers: Mapping[Arm, str] | None = None,
    reported: Mapping[Arm, Reported] | None = None,
) -> TimingComparison:
    """Run the sessions until every case has a verdict or the budget ends.

    `compared` holds every case in its order, `unready` what is known of those that
    cannot run: they take no share of Holm's correction. `servers` names the server flags
    of replays, `reported` is what endpoints say of themselves.
    """
    begin = time.monotonic()
    ready = [case for session in sessions for case in session.cases]
    ready = [case for case in ready if case.id not in unready]
    margins = {case.id: settings.margin_of(case.metric) for case in ready}

    def judged() -> Judgement:
        return judge_cases(
            {case.id: case.samples for case in ready},
            margins=margins,
            sequential=settings.sequential,
        )

    next_pairs = judged().next_pairs
    waiting = [case for case in ready if next_pairs[case.id] is not None]
    for session in {case.session.subject.id: case.session for case in waiting}.values():
        say(f"warming up {session.subject.id}")
        session.warm_up(until=begin + _WARM_UP_SHARE * settings.budget_s)
    if waiting:
        say_forecast(waiting, settings)
    stopped = run_pairs(
        ready,
        targets=lambda: judged().next_pairs,
        total=len(sessions) * settings.sequential.looks[-1],
        deadline=begin + settings.budget_s,
    )
    judgement = judged()
    notes = {case.id: case.failures for case in ready}
    for case_id, reason in stopped.items():
        needed = judgement.next_pairs[case_id]
        note = f"{reason}; its next look needs {needed} pairs"
        notes[case_id] = (note, *notes[case_id])
    cells = {
        cell.id: replace(cell, comparison=cell.comparison.with_notes(*notes[cell.id]))
        for cell in judgement.cells
    }
    cells |= {cell.id: cell for cell in judge_cells(unready).cells}
    ordered = tuple(cells[case_id] for case_id in compared)
    spent_s = [seconds for session in sessions for seconds in session.spent_s]
    if not spent_s and any(session.ledger.known for session in sessions):
        say("nothing measured: every pair is known; --again begins a new series")
    every = list(compared.values())
    facts = {
        arm: _facts([case.cells[arm] for case in every], arm, servers, reported or {})
        for arm in Arm
    }
    return TimingComparison(
        baseline=facts[Arm.BASELINE],
        candidate=facts[Arm.CANDIDATE],
        identical=all(case.identical for case in every),
        profile=profile,
        host=this_host().summary,
        sequential=settings.sequential,
        judgement=Judgement(
            verdict=most_severe(cell.verdict for cell in ordered), cells=ordered
        ),
        headline=headline_of(ready, judgement, settings.sequential),
        wall_s=time.monotonic() - begin,
        processes_s=sum(spent_s),
        processes=len(spent_s),
    )


def _facts(
    cells: Sequence[Cell | EndpointCell],
    arm: Arm,
    servers: Mapping[Arm, str] | None,
    reported: Mapping[Arm, Reported],
) -> ArmFacts:
    first = cells[0]
    if isinstance(first, EndpointCell):
        return ArmFacts(
            pin=first.endpoint_key,
            commit="",
            builds=(),
            sweep=first.sweep_key,
            reported=reported[arm].words,
        )
    return ArmFacts(
        pin=first.locked.marked(first.pin_key),
        commit=first.locked.commit,
        builds=tuple(
            dict.fromkeys(cell.build_key for cell in cells if isinstance(cell, Cell))
        ),
        sweep="" if servers else first.sweep_key,
        draft=first.draft_key,
        server=servers[arm] if servers else "",
    )


def headline_of(
    cases: Sequence[MetricCase], judgement: Judgement, sequential: SequentialTest
) -> Headline | None:
    """Return the mean over sessions; metrics of the same processes are one session.

    The time to the first token of a replay is its prompt speed again, so it is left
    out beside that. A session's pairs count up to the look that settled its last
    metric; None where no session has a complete pair.
    """
    last = {cell.id: max(cell.comparison.used, default=0) for cell in judgement.cells}
    sessions: dict[str, list[MetricCase]] = {}
    for case in cases:
        sessions.setdefault(case.session.subject.id, []).append(case)
    estimates = []
    for own in sessions.values():
        settled = max(last[case.id] for case in own)
        prompt = any(case.metric is Metric.PROMPT for case in own)
        estimate = session_estimate(
            [
                (
                    case.metric.unit,
                    [pair for pair in case.pairs if pair.number <= settled],
                )
                for case in own
                if not (prompt and case.metric is Metric.FIRST_TOKEN)
            ]
        )
        if estimate:
            estimates.append(estimate)
    if not estimates:
        return None
    return headline(estimates, alpha=sequential.alpha_per_look)
