"""Attempts that start nothing: trials as a test wants them, in records of the real shape."""

from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec
from tests.report.made_trials import made_trial

from llamatrix.agents.turn_outcome import AgentHung
from llamatrix.commands.pending import CellStatus
from llamatrix.commands.regress.agent.arms import AgentCase, AskedAgent
from llamatrix.commands.regress.agent.command import regress_agents
from llamatrix.commands.regress.agent.request import AgentRequest
from llamatrix.config.agent_cell import AgentCell
from llamatrix.config.matrix import WeightsKind
from llamatrix.errors import ServeError
from llamatrix.host import this_host
from llamatrix.project import Project
from llamatrix.records.store import Store
from llamatrix.records.trial_record import TrialRecord, trial_facts
from llamatrix.report.agent_regress import AgentRegression
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

    def attempt(
        self,
        case: AgentCase,
        arm: Arm,
        *,
        item: CellStatus[AgentCell],
        number: int,
        store: Store[TrialRecord],
    ) -> TrialRecord:
        if self.interrupted_at == len(self.made):
            raise KeyboardInterrupt
        if arm is self.dies:
            raise ServeError("llama-server: ended with exit code 1")
        cell = item.cell
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
            digest=item.digest,
            spec_digest=cell.spec_digest(task_digest=task_digest(cell.task)),
            trial=number,
        )
        result = msgspec.structs.replace(
            made.result, refusals=self.refusals.get(arm, ())
        )
        assert case.cells[arm] == cell
        record = msgspec.structs.replace(
            made, cell=facts, host=this_host(), result=result
        )
        store.append(record)
        return record


def asked(
    *,
    baseline: AskedAgent | None = None,
    candidate: AskedAgent | None = None,
    trials: int = 5,
    tasks: tuple[str, ...] = ("httpx-post",),
    budget_s: float = 1e9,
    dry_run: bool = False,
) -> AgentRequest:
    """OpenCode `april` against `current`, on smoke's one model."""
    return AgentRequest(
        asked={
            Arm.BASELINE: baseline or AskedAgent(opencode="april"),
            Arm.CANDIDATE: candidate or AskedAgent(opencode="current"),
        },
        profile="smoke",
        trials=trials,
        tasks=tasks,
        budget_s=budget_s,
        dry_run=dry_run,
    )


def found_by(
    project: Project, attempts: MadeAttempts, request: AgentRequest | None = None
) -> AgentRegression:
    found = regress_agents(request or asked(), project=project, attempts=attempts)
    assert found is not None
    return found
