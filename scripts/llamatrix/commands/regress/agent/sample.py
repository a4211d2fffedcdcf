"""The records of one cell in both arms: which trials are still due, and what they say."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from llamatrix.agents.turn_outcome import JudgingFailed, NotRun, SandboxLost
from llamatrix.commands.agent import describe
from llamatrix.commands.pending import CellStatus, trial_status
from llamatrix.commands.regress.agent.arms import AgentCase
from llamatrix.config.agent_cell import AgentCell
from llamatrix.host import this_host
from llamatrix.records.store import Store
from llamatrix.records.trial_record import TrialRecord
from llamatrix.report.agent_regress import AmountRatio
from llamatrix.report.metrics import (
    API_CALLS,
    GENERATED_TOKENS,
    GENERATION_TIME,
    PROMPT_TIME,
    PROMPT_TOKENS,
    Metric,
    result_totals,
)
from llamatrix.report.trials import Trials
from llamatrix.stats.intervals import Estimate, estimate
from llamatrix.stats.pairs import Arm
from llamatrix.stats.trials import ArmTrials
from llamatrix.trials.trial_result import Broken, is_scored

ATTEMPTS = 2
"""At a trial in which something else than the model fails."""
_METRICS = (PROMPT_TOKENS, GENERATED_TOKENS, API_CALLS, PROMPT_TIME, GENERATION_TIME)


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """A case beside the store; every question reads what is on disk now."""

    case: AgentCase
    items: dict[Arm, CellStatus[AgentCell]]
    store: Store[TrialRecord]

    def begun(self, arm: Arm) -> dict[int, tuple[TrialRecord, ...]]:
        """By place all attempts at a trial, oldest first; none that never began."""
        item = self.items[arm]
        records = [
            one
            for one in self.store.read(
                host_slug=this_host().slug, record_id=item.cell.id
            )
            if one.cell.digest == item.digest
            and not isinstance(one.result.outcome, NotRun)
        ]
        numbers = {
            place: self.case.number(arm, place)
            for place in range(1, self.case.trials + 1)
        }
        every = {
            place: tuple(one for one in records if one.trial == number)
            for place, number in numbers.items()
        }
        return {place: made for place, made in every.items() if made}

    def is_due(self, arm: Arm, place: int) -> bool:
        return place in self.due_of(arm)

    def due_of(self, arm: Arm) -> tuple[int, ...]:
        """Not made yet, or failed for another reason than the model and only once."""
        begun = self.begun(arm)
        places = range(1, self.case.trials + 1)
        return tuple(one for one in places if _is_open(begun.get(one, ())))

    def due(self) -> list[tuple[Arm, int]]:
        return [(arm, place) for arm in Arm for place in self.due_of(arm)]

    def last(self, arm: Arm) -> dict[int, TrialRecord]:
        """By place the newest record of each trial that was begun."""
        return {place: made[-1] for place, made in self.begun(arm).items()}

    def of(self, arm: Arm) -> ArmTrials:
        last, due = self.last(arm), self.due_of(arm)
        trials = Trials(records=tuple(last.values()))
        causes = {
            place: record.result.outcome.cause
            for place, record in last.items()
            if isinstance(record.result.outcome, Broken)
        }
        broken = [
            place
            for place, cause in causes.items()
            if not isinstance(cause, SandboxLost | JudgingFailed) and place not in due
        ]
        served = [one.served for one in last.values() if one.served]
        return ArmTrials(
            turns=trials.turns,
            undecided=trials.undecided,
            lost=len(causes) - len(broken),
            broken=tuple(describe(last[place].result.outcome) for place in broken),
            refused=sum(
                has_refusals(one)
                for one in trials.records
                if is_scored(one.result.outcome)
            ),
            template_fails=any(not one.template.essentials_passed for one in served),
        )

    def ratios(self) -> tuple[AmountRatio, ...]:
        """Amounts of the trials that the model ended in both arms, in pairs."""
        before, after = (_finished(self.last(arm)) for arm in Arm)
        places = sorted(before.keys() & after.keys())
        pairs = [(before[place], after[place]) for place in places]
        return tuple(
            AmountRatio(name=metric.name, estimate=_estimate(metric, pairs))
            for metric in _METRICS
        )

    def mean_s(self, arm: Arm) -> float:
        """What a trial of the arm takes; 0 where none is known."""
        took = [one.result.seconds for one in self.last(arm).values()]
        return sum(took) / len(took) if took else 0.0


def sample_text(case: AgentCase, store: Store[TrialRecord]) -> Sample:
    items = {arm: trial_status(cell, store) for arm, cell in case.cells.items()}
    return Sample(case=case, items=items, store=store)


def _estimate(
    metric: Metric, pairs: Sequence[tuple[TrialRecord, TrialRecord]]
) -> Estimate | None:
    """Of the paired log-ratios; a trial without any of it has none."""
    values = [(metric.of_trial(a), metric.of_trial(b)) for a, b in pairs]
    logs = [math.log(b / a) for a, b in values if a and b]
    return estimate(logs) if logs else None


def _is_open(made: Sequence[TrialRecord]) -> bool:
    if not made:
        return True
    return len(made) < ATTEMPTS and isinstance(made[-1].result.outcome, Broken)


def has_refusals(record: TrialRecord) -> bool:
    """Whether the server refused or broke off a call that the trial survived."""
    return bool(record.result.refusals) or result_totals(record.result).failed_calls > 0


def _finished(records: dict[int, TrialRecord]) -> dict[int, TrialRecord]:
    return {
        place: one for place, one in records.items() if Trials(records=(one,)).finished
    }
