"""Which trials of the agent cells are done already, and which are still to be made."""

from dataclasses import dataclass

from llamatrix.host import this_host
from llamatrix.measure.judging.task import task_digest
from llamatrix.measure.trial_outcome import NotRun
from llamatrix.measure.trial_result import Broken
from llamatrix.plan.agent_cell import AgentCell
from llamatrix.provision.build import compiled_by
from llamatrix.record.store import Store
from llamatrix.record.trial_record import TrialRecord


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialItem:
    """An agent cell beside what the store knows of it."""

    cell: AgentCell
    digest: str
    spec_digest: str
    done: int
    """Trials with a record under this digest that counts."""
    failed: int
    """Those among them in which something else than the model failed."""
    reused: int
    """Those among them that stand as they are: all, but for a `retry`."""
    todo: tuple[int, ...]
    """Numbers of the trials that are missing, from 1."""
    known: frozenset[str]
    """When each record of this digest was written."""


def look_up_trials(
    cell: AgentCell, store: Store[TrialRecord], *, again: int = 0, retry: bool = False
) -> TrialItem:
    """Compare a cell with its records of the same digest on this class of host.

    A trial that could not be run at all is always missing; one that broke counts,
    until `retry` asks for it anew.
    """
    host, digest_of_task = this_host().slug, task_digest(cell.task)
    digest = cell.digest(
        task_digest=digest_of_task, host_slug=host, compiler=compiled_by(cell)
    )
    latest = latest_trials(cell, digest, store)
    ran = {
        number
        for number, record in latest.items()
        if not isinstance(record.result.outcome, NotRun)
    }
    broken = {
        number for number in ran if isinstance(latest[number].result.outcome, Broken)
    }
    settled = ran - (broken if retry else set())
    wanted = max([cell.agent.trials, *ran]) + again
    return TrialItem(
        cell=cell,
        digest=digest,
        spec_digest=cell.spec_digest(task_digest=digest_of_task),
        done=len(ran),
        failed=len(broken),
        reused=len(settled),
        todo=tuple(n for n in range(1, wanted + 1) if n not in settled),
        known=frozenset(record.measured_at for record in latest.values()),
    )


def latest_trials(
    cell: AgentCell, digest: str, store: Store[TrialRecord]
) -> dict[int, TrialRecord]:
    """The newest record of each trial under a digest."""
    records = store.read(host_slug=this_host().slug, cell_id=cell.id)
    return {record.trial: record for record in records if record.cell.digest == digest}
