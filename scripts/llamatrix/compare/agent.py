"""The subject `agent`: trials of an agent at the profile's tasks, in both arms."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

import msgspec

from llamatrix import __version__
from llamatrix.agents import NAMES
from llamatrix.agents.turn_outcome import JudgingFailed, NotRun, SandboxLost
from llamatrix.compare.arms import (
    ArmSettings,
    NamedTemplate,
    Template,
    both,
    expand_arm,
)
from llamatrix.compare.forecast import detectable_drop_lines
from llamatrix.compare.run import BUDGET_S, ArmFacts, run_pairs
from llamatrix.config.agent_cell import AgentCell
from llamatrix.config.complaint import nearest
from llamatrix.config.context import Context
from llamatrix.config.expand import matches_any, select_cells, select_profile
from llamatrix.config.lock import LockedTemplate
from llamatrix.config.matrix import Measurement
from llamatrix.errors import MatrixError, ServeError
from llamatrix.host import this_host
from llamatrix.measuring import measuring
from llamatrix.progress import say
from llamatrix.project import Project
from llamatrix.provision.build import compiled_by
from llamatrix.proxy.totals import Totals
from llamatrix.records.pair_records import TRIAL_PAIRS, ComparedTrials
from llamatrix.records.store import Store
from llamatrix.records.trial_record import AGENT, TrialRecord
from llamatrix.stats.intervals import Estimate, estimate
from llamatrix.stats.pairs import Arm, drawn_order
from llamatrix.stats.trials import (
    ArmTrials,
    Pooled,
    TrialComparison,
    judge_trials,
    overall_verdict,
    pooled,
)
from llamatrix.stats.verdict import Verdict
from llamatrix.trials.checks.task import task_digest
from llamatrix.trials.trial_result import (
    Broken,
    Correct,
    Incorrect,
    TrialOutcome,
    Undecided,
    is_scored,
)
from llamatrix.units import duration_text

TRIALS = 5
_ATTEMPTS = 2
"""At a trial in which something else than the model fails."""
_ENOUGH_BROKEN = 2
"""Trials that break before an arm without any finished one is given up."""
_SEVERAL = 2
_AMOUNTS: dict[str, Callable[[Totals], float]] = {
    "Total prompt tokens processed": lambda totals: totals.prompt_tokens,
    "Total tokens generated": lambda totals: totals.generated_tokens,
    "API calls": lambda totals: totals.api_calls,
    "Prompt processing time": lambda totals: totals.prompt_s,
    "Generation time": lambda totals: totals.generation_s,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class AgentCase:
    """One task done by one model in both arms: what gets a verdict of its own."""

    cells: Mapping[Arm, AgentCell]
    templates: Mapping[Arm, Template]
    """Only of an arm whose template is not the model's own."""
    trials: int
    """Of each arm."""

    @property
    def id(self) -> str:
        """As a cell id, with `baseline..candidate` where the two differ."""
        baseline, candidate = (self.cells[arm] for arm in Arm)
        parts = [
            "agent",
            both(baseline.weights_key, candidate.weights_key),
            both(baseline.pin_key, candidate.pin_key),
            both(baseline.build_key, candidate.build_key),
            both(baseline.agent_name, candidate.agent_name),
        ]
        for a, b in (
            (baseline.agent.context7, candidate.agent.context7),
            (baseline.server_key, candidate.server_key),
            (template_of(baseline), template_of(candidate)),
        ):
            parts += [both(a, b)] if a != b else []
        return "/".join([*parts, baseline.task])

    @property
    def identical(self) -> bool:
        """Both arms are the same: an A/A comparison. Their task always is."""
        specs = {cell.spec_digest(task_digest="") for cell in self.cells.values()}
        return len(specs) == 1

    def number(self, arm: Arm, place: int) -> int:
        """Under which number the store knows an arm's trial, from 1.

        Arms that are the same share a cell: the candidate's trials come after the
        baseline's there. Where transcripts take turns, both play the same one.
        """
        if arm is Arm.BASELINE or not self.identical:
            return place
        cell = self.cells[arm]
        turns = len(cell.agent.scripts.get(cell.task, ())) or 1
        return place + -(-self.trials // turns) * turns


def template_of(cell: AgentCell) -> str:
    """For people."""
    return cell.model.chat_template_file or "embedded"


def agent_cases(
    context: Context,
    arms: Mapping[Arm, ArmSettings],
    *,
    trials: int,
    tasks: Sequence[str] = (),
    cells: str = "",
    templates: NamedTemplate = lambda _arm, _model: None,
) -> tuple[AgentCase, ...]:
    """Every model at every task, in the profile's order; MatrixError for none."""
    matrix, profile = context.matrix, context.profile
    chosen = select_profile(matrix, profile)
    if chosen.agent is None or chosen.server is None:
        raise MatrixError(
            f"profile {profile!r}: it has no agent to compare; take one with `agent` and "
            "`server`, such as smoke or published"
        )
    for task in tasks:
        known = matrix.agents[chosen.agent].tasks
        if task not in known:
            raise MatrixError(
                f"--tasks {task!r}: not a task of agents.{chosen.agent}"
                f"{nearest(task, known)}"
            )
    expanded = [
        expand_arm(context, arms[arm], Measurement.AGENT, tasks=tasks).agents
        for arm in Arm
    ]
    every = []
    for pair in zip(*expanded, strict=True):
        ids = [cell.id for cell in pair]
        if not matches_any(ids, chosen.include) or matches_any(ids, chosen.exclude):
            continue
        facing = dict(zip(Arm, pair, strict=True))
        named: dict[Arm, Template] = {}
        for arm, cell in facing.items():
            template = templates(arm, cell.model)
            own = cell.template and cell.template.result_sha256
            if template and template.sha256 != own:
                named[arm] = template
        every.append(
            AgentCase(
                cells={
                    arm: _served_with(cell, named.get(arm))
                    for arm, cell in facing.items()
                },
                templates=named,
                trials=trials,
            )
        )
    return select_cells(
        every,
        cells,
        ids=lambda case: (case.id, *(cell.id for cell in case.cells.values())),
    )


def _served_with(cell: AgentCell, template: Template | None) -> AgentCell:
    """Return the cell with another template, which is then part of its digest."""
    if template is None:
        return cell
    model = msgspec.structs.replace(cell.model, chat_template_file=template.name)
    sha256 = template.sha256
    locked = LockedTemplate(source_sha256=sha256, result_sha256=sha256)
    return msgspec.structs.replace(cell, model=model, template=locked)


class Attempts(Protocol):
    """How trials come about."""

    def lacking(self, case: AgentCase) -> str:
        """Why this machine cannot try it, in either arm; empty where it can."""
        ...

    def broken(self, case: AgentCase) -> str:
        """Provide both arms; why the candidate is broken before its first trial."""
        ...

    def attempt(
        self, case: AgentCase, arm: Arm, number: int, store: Store[TrialRecord]
    ) -> TrialRecord:
        """One attempt, on disk before this returns."""
        ...

    def describe(self, outcome: TrialOutcome) -> str:
        """Return what came of a trial, in a few words."""
        ...


def is_finished(record: TrialRecord) -> bool:
    """Whether it ended by the model's own doing: amounts are taken of such trials."""
    outcome = record.result.outcome
    return is_scored(outcome) or isinstance(outcome, Undecided)


def has_refusals(record: TrialRecord) -> bool:
    """Whether the server refused or broke off a call that the trial survived."""
    failed = sum(turn.totals.failed_calls for turn in record.result.turns)
    return bool(record.result.refusals) or failed > 0


@dataclass(kw_only=True, slots=True)
class TrialCase:
    """A case of the run loop; every question reads what the store has now."""

    case: AgentCase
    store: Store[TrialRecord]
    attempts: Attempts
    project: Project
    broken: str = ""
    """Why the candidate could not even be begun."""
    note: str = ""
    """Why trials are missing."""
    made: int = 0
    """Attempts of this run."""
    made_s: float = 0.0
    """Their wall time."""

    @property
    def id(self) -> str:
        return self.case.id

    def begun(self, arm: Arm) -> dict[int, list[TrialRecord]]:
        """By place all attempts at a trial, oldest first; none that never began."""
        cell = self.case.cells[arm]
        host = this_host().slug
        digest = cell.digest(
            task_digest=task_digest(cell.task),
            host_slug=host,
            compiler=compiled_by(cell),
        )
        by_number: dict[int, list[TrialRecord]] = {}
        for record in self.store.read(host_slug=host, record_id=cell.id):
            begun = not isinstance(record.result.outcome, NotRun)
            if begun and record.cell.digest == digest:
                by_number.setdefault(record.trial, []).append(record)
        return {
            place: by_number[number]
            for place in range(1, self.case.trials + 1)
            if (number := self.case.number(arm, place)) in by_number
        }

    def due_of(self, arm: Arm) -> list[int]:
        """Not made yet, or failed for another reason than the model and only once."""
        begun = self.begun(arm)
        return [
            place
            for place in range(1, self.case.trials + 1)
            if not (made := begun.get(place))
            or (len(made) < _ATTEMPTS and isinstance(made[-1].result.outcome, Broken))
        ]

    def due(self) -> list[tuple[Arm, int]]:
        return [(arm, place) for arm in Arm for place in self.due_of(arm)]

    def last(self, arm: Arm) -> dict[int, TrialRecord]:
        """By place the newest record of each trial that was begun."""
        return {place: made[-1] for place, made in self.begun(arm).items()}

    def trials_of(self, arm: Arm) -> ArmTrials:
        last, due = self.last(arm), self.due_of(arm)
        outcomes = {place: record.result.outcome for place, record in last.items()}
        failed = {
            place: outcome
            for place, outcome in outcomes.items()
            if isinstance(outcome, Broken)
        }
        broken = [
            outcome
            for place, outcome in failed.items()
            if not isinstance(outcome.cause, SandboxLost | JudgingFailed)
            and place not in due
        ]
        scored = [
            record for record in last.values() if is_scored(record.result.outcome)
        ]
        served = [record.served for record in last.values() if record.served]
        return ArmTrials(
            turns=tuple(
                outcome.turn if isinstance(outcome, Correct) else None
                for outcome in outcomes.values()
                if isinstance(outcome, Correct | Incorrect)
            ),
            undecided=sum(
                isinstance(outcome, Undecided) for outcome in outcomes.values()
            ),
            lost=len(failed) - len(broken),
            broken=tuple(self.attempts.describe(outcome) for outcome in broken),
            refused=sum(map(has_refusals, scored)),
            template_fails=any(
                server.template is not None and not server.template.essentials_passed
                for server in served
            ),
        )

    def record(self) -> ComparedTrials:
        """Return what both arms came to; on disk where that is new."""
        first = self.case.cells[Arm.BASELINE]
        made = ComparedTrials(
            case=self.id,
            weights=first.weights,
            baseline=self.trials_of(Arm.BASELINE),
            candidate=self.trials_of(Arm.CANDIDATE),
            max_turns=first.agent.max_turns,
            broken=self.broken,
            host=this_host(),
            measured_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
            made_by=f"llamatrix {__version__}",
        )
        store = Store(reports=self.project.reports, kind=TRIAL_PAIRS)
        known = store.read(host_slug=made.host.slug, record_id=self.id)[-1:]
        same = [
            msgspec.structs.replace(one, measured_at=made.measured_at) == made
            for one in known
        ]
        if (self.made or self.broken or not known) and not any(same):
            store.append(made)
        return made

    def ratios(self) -> dict[str, Estimate | None]:
        """Amounts of the trials that the model ended in both arms, in pairs.

        Candidate over baseline, as paired log-ratios: above 1 is more. A trial without
        any of an amount has no ratio; None where none is left.
        """
        before, after = (
            {
                place: record
                for place, record in self.last(arm).items()
                if is_finished(record)
            }
            for arm in Arm
        )
        places = sorted(before.keys() & after.keys())
        ratios: dict[str, Estimate | None] = {}
        for name, amount in _AMOUNTS.items():
            values = [
                [
                    sum(amount(turn.totals) for turn in arm[place].result.turns)
                    for arm in (before, after)
                ]
                for place in places
            ]
            logs = [math.log(b / a) for a, b in values if a and b]
            ratios[name] = estimate(logs) if logs else None
        return ratios

    def mean_s(self, arm: Arm) -> float:
        """What a trial of the arm takes; 0 where none is known."""
        took = [record.result.seconds for record in self.last(arm).values()]
        return sum(took) / len(took) if took else 0.0

    def prepare(self) -> None:
        """Provide what both arms need, unless they cannot be compared here."""
        if lacking := self.attempts.lacking(self.case):
            say(f"{self.id}: {lacking}")
            self.note = lacking
        elif broken := self.attempts.broken(self.case):
            self._break(broken)

    def target(self) -> int | None:
        """The next pair of trials that is due; None where there is none to make."""
        if self.broken or self.note:
            return None
        return min((place for _, place in self.due()), default=None)

    @property
    def complete(self) -> int:
        target = self.target()
        return self.case.trials if target is None else target - 1

    def _next(self) -> tuple[int, list[Arm]]:
        """The next place, and the arms whose trial is due there, in a random order."""
        due = self.due()
        place = min(place for _, place in due)
        return place, [
            arm for arm in drawn_order(self.id, place) if (arm, place) in due
        ]

    @property
    def pair_s(self) -> float:
        return sum(self.mean_s(arm) for arm in self._next()[1])

    def stop_reason(self) -> str | None:
        """Why no more trials are made of it; None where they are."""
        for arm in Arm:
            trials = self.trials_of(arm)
            if len(trials.broken) >= _ENOUGH_BROKEN and not trials.turns:
                return f"given up after {len(trials.broken)} broken trials of the {arm}"
        return None

    def over_budget(self, left_s: float) -> str:
        (place, _), takes_s = self._next(), self.pair_s
        if left_s <= 0 or not takes_s:
            return f"the budget ended before trial {place}"
        return (
            f"trial {place} of both would take {duration_text(takes_s)}, and "
            f"{duration_text(left_s)} of the budget are left"
        )

    def run_pair(self) -> str:
        place, arms = self._next()
        for arm in arms:
            try:
                self._trial(arm, place)
            except ServeError as error:
                if arm is Arm.BASELINE:
                    raise
                self._break(f"the candidate's server: {error}")
                break
        return self.id

    def _trial(self, arm: Arm, place: int) -> None:
        """One trial, with another attempt where something else than the model failed."""
        label = f"{self.id} {arm} #{place}"
        with measuring(purpose="making trials"):
            while place in self.due_of(arm):
                say(f"trial {label}")
                begin = time.monotonic()
                number = self.case.number(arm, place)
                made = self.attempts.attempt(self.case, arm, number, self.store)
                took_s = time.monotonic() - begin
                self.made += 1
                self.made_s += took_s
                what = self.attempts.describe(made.result.outcome)
                say(f"trial {label}: {what} ({duration_text(took_s)})")

    def _break(self, why: str) -> None:
        say(f"{self.id}: {why}")
        self.broken = why


@dataclass(frozen=True, kw_only=True, slots=True)
class AgentCellComparison:
    id: str
    comparison: TrialComparison
    ratios: Mapping[str, Estimate | None]
    """By amount the candidate's over the baseline's, trial by trial."""
    notes: tuple[str, ...] = ()

    @property
    def verdict(self) -> Verdict:
        return self.comparison.verdict


@dataclass(frozen=True, kw_only=True, slots=True)
class AgentComparison:
    verdict: Verdict
    baseline: ArmFacts
    candidate: ArmFacts
    identical: bool
    scripted: bool
    profile: str
    host: str
    trials: int
    """Wanted of each arm at each cell."""
    cells: tuple[AgentCellComparison, ...]
    pooled: Pooled | None
    """None where fewer than two cells have scored trials in both arms."""
    reused: int
    """Trials that were known before."""
    made: int
    """Attempts of this run."""
    made_s: float
    """Their wall time."""
    wall_s: float


def trial_cases(
    cases: Sequence[AgentCase], project: Project, attempts: Attempts
) -> list[TrialCase]:
    store = Store(reports=project.reports, kind=AGENT)
    return [
        TrialCase(case=case, store=store, attempts=attempts, project=project)
        for case in cases
    ]


def say_trials_forecast(
    cases: Sequence[TrialCase], *, trials: int, budget_s: float
) -> None:
    """Say how much is to be made, how long it takes, and what it could detect."""
    due = [(case, arm) for case in cases for arm, _ in case.due()]
    total = len(cases) * trials * len(Arm)
    say(
        f"plan: cells: {len(cases)}, trials of each arm: {trials}: {len(due)} to make, "
        f"{total - len(due)} known; budget {duration_text(budget_s)}"
    )
    times = [case.mean_s(arm) for case, arm in due]
    if due and all(times):
        say(f"plan: all in {duration_text(sum(times))}, as earlier trials took")
    for line in detectable_drop_lines(trials, cells=len(cases)):
        say(line)


def compare_agents(
    cases: Sequence[TrialCase],
    *,
    profile: str,
    trials: int,
    budget_s: float = BUDGET_S,
) -> AgentComparison:
    """Make the trials that are due until the budget ends, and judge all of them.

    What is provided first does not count against the budget.
    """
    begin = time.monotonic()
    cases[0].store.require_room(this_host().slug)
    reused = sum(len(Arm) * trials - len(case.due()) for case in cases)
    for case in cases:
        if case.due():
            case.prepare()
    stopped = run_pairs(
        cases,
        targets=lambda: {case.id: case.target() for case in cases},
        total=len({(case.id, place) for case in cases for _, place in case.due()}),
        deadline=time.monotonic() + budget_s,
    )
    cells = []
    for case in cases:
        note = case.note or stopped.get(case.id, "")
        record = case.record()
        comparison = judge_trials(
            record.baseline,
            record.candidate,
            max_turns=record.max_turns,
            broken=record.broken,
        )
        cells.append(
            AgentCellComparison(
                id=case.id,
                comparison=comparison,
                ratios=case.ratios(),
                notes=(note,) if note else (),
            )
        )
    passes = [
        cell.comparison.comparison for cell in cells if cell.comparison.comparison
    ]
    together = pooled(passes) if len(passes) >= _SEVERAL else None
    compared = [case.case for case in cases]
    return AgentComparison(
        verdict=overall_verdict([cell.comparison for cell in cells], together),
        baseline=_facts([case.cells[Arm.BASELINE] for case in compared]),
        candidate=_facts([case.cells[Arm.CANDIDATE] for case in compared]),
        identical=all(case.identical for case in compared),
        scripted=any(
            cell.script_of(1) for case in compared for cell in case.cells.values()
        ),
        profile=profile,
        host=this_host().summary,
        trials=trials,
        cells=tuple(cells),
        pooled=together,
        reused=reused,
        made=sum(case.made for case in cases),
        made_s=sum(case.made_s for case in cases),
        wall_s=time.monotonic() - begin,
    )


def _facts(cells: Sequence[AgentCell]) -> ArmFacts:
    first = cells[0]
    return ArmFacts(
        pin=first.locked.marked(first.pin_key),
        commit=first.locked.commit,
        builds=(first.build_key,),
        server=first.server_key,
        templates=tuple(dict.fromkeys(template_of(cell) for cell in cells)),
        agent=f"{NAMES[first.agent.kind]} {first.program.version}",
        context7=first.context7.version,
    )
