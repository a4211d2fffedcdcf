"""Which trials of the agent cells are done already, and which are still to be made."""

from collections.abc import Sequence
from dataclasses import dataclass

from llamatrix.agents.registry import agent_of
from llamatrix.agents.turn_outcome import NotRun
from llamatrix.config.agent_cell import AgentCell
from llamatrix.config.complaint import nearest
from llamatrix.errors import MatrixError, MeasureError
from llamatrix.host import this_host
from llamatrix.provision.build import compiled_by
from llamatrix.records.store import Store
from llamatrix.records.trial_record import TrialRecord
from llamatrix.trials.checks.task import load_task, task_digest, task_ids
from llamatrix.trials.scripted import script_of
from llamatrix.trials.trial_result import Broken, is_scored


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
    unscored: int = 0
    """Those among the reused that are neither passed nor failed."""
    todo: tuple[int, ...]
    """Numbers of the trials that are missing, from 1."""
    known: frozenset[str]
    """When each record of this digest was written."""


def check_agents(cells: Sequence[AgentCell]) -> None:
    """Hold what the matrix says of agents against our tasks; MatrixError, with the key."""
    for cell in cells:
        where = f"matrix.toml: agents.{cell.agent_key}"
        if cell.task not in task_ids():
            hint = nearest(cell.task, task_ids())
            raise MatrixError(f"{where}.tasks: unknown task {cell.task!r}{hint}")
        for name in cell.agent.scripts.get(cell.task, ()):
            try:
                script_of(load_task(cell.task), name)
            except MeasureError as error:
                raise MatrixError(f"{where}.scripts.{cell.task}: {error}") from error
        _check_room(cell)
        if not cell.server.metrics:
            raise MatrixError(
                f"matrix.toml: servers.{cell.server_key}.metrics: trials are held "
                "against the server's counters: true, or another server"
            )


def _check_room(cell: AgentCell) -> None:
    """MatrixError where the agent would compact for ever instead of working."""
    agent = agent_of(cell, context7_url=None)
    room = agent.room_tokens(cell.model.ctx_size // cell.server.parallel)
    first = agent.first_prompt_tokens
    if room < first:
        shared = f" in each of {cell.server.parallel} slots"
        raise MatrixError(
            f"matrix.toml: models.{cell.model_key}.ctx_size less agents."
            f"{cell.agent_key}.output_tokens leaves {max(room, 0)} tokens"
            f"{shared if cell.server.parallel > 1 else ''}, and the first prompt of "
            f"{agent.name} {agent.version} has about {first}: it would compact for ever; raise "
            "ctx_size, or lower output_tokens"
        )


def look_up_trials(
    cell: AgentCell, store: Store[TrialRecord], *, again: int = 0, retry: bool = False
) -> TrialItem:
    """Compare a cell with its records of the same digest on this class of host.

    A trial that could not be run at all is always missing; one that broke counts,
    until `retry` asks for it anew. Numbers beyond what the matrix asks for may have
    gaps: a comparison of pins was broken off there.
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
    last = max([cell.agent.trials, *ran])
    wanted = {
        *range(1, cell.agent.trials + 1),
        *ran,
        *range(last + 1, last + 1 + again),
    }
    return TrialItem(
        cell=cell,
        digest=digest,
        spec_digest=cell.spec_digest(task_digest=digest_of_task),
        done=len(ran),
        failed=len(broken),
        reused=len(settled),
        unscored=sum(not is_scored(latest[one].result.outcome) for one in settled),
        todo=tuple(sorted(wanted - settled)),
        known=frozenset(record.measured_at for record in latest.values()),
    )


def latest_trials(
    cell: AgentCell, digest: str, store: Store[TrialRecord]
) -> dict[int, TrialRecord]:
    """The newest record of each trial under a digest."""
    records = store.read(host_slug=this_host().slug, record_id=cell.id)
    return {record.trial: record for record in records if record.cell.digest == digest}
