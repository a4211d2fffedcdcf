"""Attempts that start nothing: trials as a test wants them, in records of the real shape."""

from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec
from tests.report.made_trials import made_trial

from llamatrix.agents.turn_outcome import AgentHung
from llamatrix.commands.agent import describe
from llamatrix.commands.flags import RegressFlags
from llamatrix.commands.pending import trial_status
from llamatrix.commands.regress import compare_trials
from llamatrix.compare.agent import AgentCase, AgentComparison
from llamatrix.config.matrix import WeightsKind
from llamatrix.errors import ServeError
from llamatrix.host import this_host
from llamatrix.project import Project
from llamatrix.records.store import Store
from llamatrix.records.trial_record import TrialRecord, trial_facts
from llamatrix.stats.pairs import Arm
from llamatrix.trials.checks.task import task_digest
from llamatrix.trials.trial_result import Broken, Correct, Incorrect, TrialOutcome

PASSED, FAILED = Correct(turn=1), Incorrect(turns=3)
HUNG = Broken(turn=1, cause=AgentHung(silent_s=300.0))
Outcomes = Callable[[int], TrialOutcome]


def always(outcome: TrialOutcome) -> Outcomes:
    return lambda _number: outcome


ALL_PASS = always(PASSED)


def passing(*numbers: int) -> Outcomes:
    """Only these trials pass."""
    return lambda number: PASSED if number in numbers else FAILED


@dataclass(kw_only=True, slots=True)
class MadeAttempts:
    """An `Attempts` that keeps account of what was asked of it."""

    candidate: Outcomes = ALL_PASS
    baseline: Outcomes = ALL_PASS
    lacks: str = ""
    breaks: str = ""
    dies: Arm | None = None
    """Whose server does not start."""
    interrupted_at: int | None = None
    """Ctrl-C in place of that attempt, from 0."""
    refusals: dict[Arm, tuple[str, ...]] = field(default_factory=dict)
    factor: dict[Arm, float] = field(default_factory=dict)
    """Of all amounts."""
    made: list[tuple[str, Arm, int]] = field(default_factory=list)
    """Task, arm and number of each attempt, in order."""

    def lacking(self, _case: AgentCase) -> str:
        return self.lacks

    def broken(self, _case: AgentCase) -> str:
        return self.breaks

    def describe(self, outcome: TrialOutcome) -> str:
        return describe(outcome)

    def attempt(
        self, case: AgentCase, arm: Arm, number: int, store: Store[TrialRecord]
    ) -> TrialRecord:
        if self.interrupted_at == len(self.made):
            raise KeyboardInterrupt
        if arm is self.dies:
            raise ServeError("llama-server: ended with exit code 1")
        cell = case.cells[arm]
        status = trial_status(cell, store)
        self.made.append((cell.task, arm, number))
        outcome = (self.baseline if arm is Arm.BASELINE else self.candidate)(number)
        made = made_trial(
            *(cell.model_key, cell.task),
            outcome=outcome,
            trial=number,
            weights=WeightsKind.TINY,
            factor=self.factor.get(arm, 1.0),
            measured_at=f"2026-11-26T12:00:{len(self.made):02}.000+00:00",
        )
        facts = trial_facts(
            cell,
            digest=status.digest,
            spec_digest=cell.spec_digest(task_digest=task_digest(cell.task)),
            trial=number,
        )
        result = msgspec.structs.replace(
            made.result, refusals=self.refusals.get(arm, ())
        )
        record = msgspec.structs.replace(
            made, cell=facts, host=this_host(), result=result
        )
        store.append(record)
        return record


def asked(
    *,
    baseline: str = "agent:april",
    candidate: str = "agent:current",
    trials: int = 5,
    tasks: str = "httpx-post",
    budget: str = "1h",
    dry_run: bool = False,
) -> RegressFlags:
    """OpenCode `april` against `current`, on smoke's one model."""
    return RegressFlags(
        agent=True,
        baseline=baseline,
        candidate=candidate,
        profile="smoke",
        trials=trials,
        tasks=tasks,
        budget=budget,
        dry_run=dry_run,
    )


def found_by(
    project: Project, attempts: MadeAttempts, flags: RegressFlags | None = None
) -> AgentComparison:
    found = compare_trials(flags or asked(), project=project, attempts=attempts)
    assert found is not None
    return found
