"""What of a plan is recorded, what is due and why: for speed, agent and context cells."""

import base64
import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Generic, TypeVar

import msgspec

from llamatrix.agents.registry import agent_of
from llamatrix.agents.turn_outcome import NotRun
from llamatrix.commands.flags import MeasureFlags
from llamatrix.config.agent_cell import AgentCell
from llamatrix.config.cell import Cell, EngineCell, SpeedTest
from llamatrix.config.complaint import nearest
from llamatrix.config.context import Context, load_context
from llamatrix.config.endpoint_cell import EndpointCell
from llamatrix.config.expand import endpoint_pin
from llamatrix.config.lock import LockedPin, Unproven
from llamatrix.config.matrix import Measurement
from llamatrix.engines.endpoint.client import Reported, open_client
from llamatrix.engines.outcome import Done, EndpointFailed, reason_of
from llamatrix.errors import MatrixError, MeasureError
from llamatrix.host import this_host
from llamatrix.measured_environment import dropped_variables
from llamatrix.progress import say
from llamatrix.provision.build import compiled_by
from llamatrix.provision.local_pins import with_local_pins
from llamatrix.provision.resolve import with_named_pin
from llamatrix.provision.resolve_weights import with_known_weights
from llamatrix.records.context_record import ContextCell, ContextRecord
from llamatrix.records.endpoint_record import ENDPOINT, EndpointRecord
from llamatrix.records.speed_record import SpeedRecord, kind_of
from llamatrix.records.store import Store
from llamatrix.records.trial_record import AGENT, TrialRecord
from llamatrix.report.speed import result_of
from llamatrix.trials.checks.task import load_task, task_digest, task_ids
from llamatrix.trials.scripted import script_of
from llamatrix.trials.trial_result import Broken, is_scored

NEEDS_CONTEXT7 = "context7-called"
"""The check of a task that cannot be passed without the documentation server."""
CellT = TypeVar("CellT", Cell, AgentCell, ContextCell, EndpointCell)
Key = tuple[int, SpeedTest]
_ENDPOINT_TIMEOUT_S = 60.0


class Why(StrEnum):
    NOT_RECORDED = "not recorded"
    FAILED = "failed before"
    """`--retry` repeats it."""
    AGAIN = "one more, as asked"
    UNSTABLE = "spread above target_spread"


@dataclass(frozen=True, kw_only=True, slots=True)
class Due:
    """One process, trial or search that is still to run."""

    number: int
    """The repeat of a sweep or the number of a trial, from 1."""
    tests: tuple[SpeedTest, ...] = ()
    """The tests that this repeat of a sweep lacks."""
    why: Why = Why.NOT_RECORDED


@dataclass(frozen=True, kw_only=True, slots=True)
class CellStatus(Generic[CellT]):
    """A cell of the plan beside its records of the same digest on this class of host."""

    cell: CellT
    digest: str
    recorded: int = 0
    """Tests or trials that have a record."""
    failed: int = 0
    """Those among them in which something else than the model failed."""
    reused: int = 0
    """Those among them that are not run again."""
    reused_without_number: int = 0
    """Those among the reused whose outcome is neither a number nor a verdict."""
    due: tuple[Due, ...] = ()
    written_at: frozenset[str] = frozenset()
    """When the latest records were written."""

    @property
    def missing(self) -> tuple[str, ...]:
        """Repeat and test that are due, such as `2:pp512`, or `1:trial`."""
        return tuple(
            f"{due.number}:{name}"
            for due in self.due
            for name in ([test.name for test in due.tests] or ["trial"])
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Pending:
    """The cells that a command works on."""

    context: Context
    speed: tuple[CellStatus[Cell], ...]
    trials: tuple[CellStatus[AgentCell], ...]
    endpoints: tuple[CellStatus[EndpointCell], ...] = ()

    @property
    def statuses(
        self,
    ) -> tuple[
        CellStatus[Cell] | CellStatus[AgentCell] | CellStatus[EndpointCell], ...
    ]:
        """Of all cells, speed first."""
        return (*self.speed, *self.trials, *self.endpoints)

    @property
    def engines(self) -> tuple[EngineCell, ...]:
        """The cells with weights and a build, and those with the drafts' weights."""
        drafting = (status.cell.draft_engine for status in self.speed)
        return (
            *(status.cell for status in self.speed),
            *(engine for engine in drafting if engine),
            *(status.cell for status in self.trials if not status.cell.endpoint),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Site:
    """A class of hosts, which is part of every digest: its hardware, its compilers."""

    slug: str
    compilers: Mapping[str, str] | None = None
    """By `PIN/BUILD`; None asks this machine."""

    def compiler_of(self, cell: EngineCell) -> str:
        if self.compilers is None:
            return compiled_by(cell)
        return self.compilers[f"{cell.pin_key}/{cell.build_key}"]


def this_site() -> Site:
    return Site(slug=this_host().slug)


def load_pending(
    flags: MeasureFlags, *, kinds: Collection[Measurement] = tuple(Measurement)
) -> Pending:
    """What a measuring command works on; a dry run does not ask the hub."""
    context = load_context(
        flags.profile, model=flags.model, weights_dir=flags.weights_dir
    )
    pending = find_pending(
        with_only_pin(context, flags.pin),
        flags.cells,
        kinds=kinds,
        again=flags.again,
        retry=flags.retry,
        ask_hub=not flags.dry_run,
    )
    if not flags.dry_run and (names := dropped_variables()):
        say(
            f"not passed on to measured programs: {', '.join(names)}; what is meant for "
            "them belongs into `env` of the sweep or server in matrix.toml"
        )
    return pending


def with_only_pin(context: Context, pin: str) -> Context:
    """Return the context with this pin in place of the profile's; as it is for none."""
    if not pin:
        return context
    context, key = with_named_pin(context, pin, flag="--pin")
    return context.narrowed(pins=(key,))


def find_pending(
    context: Context,
    cells: str = "",
    *,
    kinds: Collection[Measurement] = tuple(Measurement),
    again: int = 0,
    retry: bool = False,
    ask_hub: bool = False,
    hash_pins: bool = False,
    site: Site | None = None,
) -> Pending:
    """Compare the chosen cells with a site's records, this machine's by default.

    MatrixError where no cell is of the kinds.

    With `ask_hub`, for commands that use weights, entries that are unresolved in the
    lock are resolved before records are looked up: their bytes are part of a digest.
    """
    plan = context.plan(cells)
    known = with_known_weights(context, plan.cells, ask_hub=ask_hub)
    if hash_pins or ask_hub:
        known = with_local_pins(known, [cell.pin_key for cell in plan.cells])
    if ask_hub and Measurement.AGENT in kinds:
        known = _with_endpoints(known, plan.agents)
    if (known.matrix, known.lock) != (context.matrix, context.lock):
        context, plan = known, known.plan(cells)
    speeds = tuple(cell for cell in plan.speed if cell.measurement in kinds)
    agents = plan.agents if Measurement.AGENT in kinds else ()
    check_agents(agents)
    endpoints = plan.endpoints if Measurement.SPEED in kinds else ()
    if not speeds and not agents and not endpoints:
        raise MatrixError(
            f"profile {context.profile!r}: none of these cells is of this command's "
            "kind; `invoke plan` shows them all"
        )
    agent_store = Store(reports=context.project.reports, kind=AGENT)
    endpoint_store = Store(reports=context.project.reports, kind=ENDPOINT)
    return Pending(
        context=context,
        speed=tuple(
            speed_status(
                cell,
                Store(reports=context.project.reports, kind=kind_of(cell)),
                again=again,
                retry=retry,
                site=site,
            )
            for cell in speeds
        ),
        trials=tuple(
            trial_status(cell, agent_store, again=again, retry=retry, site=site)
            for cell in agents
        ),
        endpoints=tuple(
            endpoint_status(cell, endpoint_store, again=again, retry=retry)
            for cell in endpoints
        ),
    )


def _with_endpoints(context: Context, cells: Sequence[AgentCell]) -> Context:
    """Ask the endpoints of trials what they are: it is part of each trial's digest."""
    pins = dict(context.lock.pins)
    for key, endpoint in {
        cell.model_key: cell.endpoint for cell in cells if cell.endpoint
    }.items():
        with open_client(endpoint) as client:
            reported = client.introduce(timeout_s=_ENDPOINT_TIMEOUT_S)
        if not isinstance(reported, Reported):
            raise MeasureError(f"endpoint {key}: {reason_of(reported)}")
        digest = hashlib.sha256(msgspec.json.encode((endpoint.model, reported)))
        pins[endpoint_pin(key)] = LockedPin(
            commit=digest.hexdigest()[:40],
            nar_hash="sha256-" + base64.b64encode(digest.digest()).decode(),
            unproven=Unproven.ENDPOINT,
            rev=reported.words,
        )
    return context.with_lock(msgspec.structs.replace(context.lock, pins=pins))


def speed_status(
    cell: Cell,
    store: Store[SpeedRecord],
    *,
    again: int = 0,
    retry: bool = False,
    site: Site | None = None,
) -> CellStatus[Cell]:
    """The tests that a speed cell lacks.

    `again` asks for that many repeats beyond those that exist; `retry` repeats what
    failed. Once a cell has its repeats, the sweep's `target_spread` may ask for another.
    """
    site = site or this_site()
    digest = cell.digest(host_slug=site.slug, compiler=site.compiler_of(cell))
    latest = _latest_tests(cell, digest, store, site.slug)
    failed = {
        key for key, record in latest.items() if not isinstance(record.outcome, Done)
    }
    settled = latest.keys() - (failed if retry else set())
    repeats = max([cell.sweep.processes, *(repeat for repeat, _ in latest)])
    due = tuple(_due_tests(cell, repeats, again, latest, settled))
    if not due and repeats < cell.sweep.max_processes and _is_unstable(cell, latest):
        due = (Due(number=repeats + 1, tests=cell.tests, why=Why.UNSTABLE),)
    return CellStatus(
        cell=cell,
        digest=digest,
        recorded=len(latest),
        failed=len(failed),
        reused=len(settled),
        reused_without_number=len(failed & settled),
        due=due,
        written_at=frozenset(record.measured_at for record in latest.values()),
    )


def _latest_tests(
    cell: Cell, digest: str, store: Store[SpeedRecord], host_slug: str
) -> dict[Key, SpeedRecord]:
    records = store.read(host_slug=host_slug, record_id=cell.id)
    return {
        (record.repeat, record.test): record
        for record in records
        if record.cell.digest == digest
    }


def endpoint_status(
    cell: EndpointCell,
    store: Store[EndpointRecord],
    *,
    reported: Reported | None = None,
    again: int = 0,
    retry: bool = False,
) -> CellStatus[EndpointCell]:
    """The tests that an endpoint's cell lacks.

    `reported` is what the server says of itself now; None, before it is asked, takes
    the newest records. Where it was down or refused, tests are due until it answers.
    """
    host_slug = this_host().slug
    records = [
        record
        for record in store.read(host_slug=host_slug, record_id=cell.id)
        if record.cell.spec_digest == cell.spec_digest
    ]
    known = reported or newest_reported(cell, store)
    digest = cell.digest(host_slug=host_slug, reported=known)
    latest = {
        (record.repeat, record.test): record
        for record in records
        if record.cell.digest == digest and record.test in cell.tests
    }
    outcomes = {key: record.outcome for key, record in latest.items()}
    failed = {key for key, one in outcomes.items() if not isinstance(one, Done)}
    passing = {
        key
        for key, one in outcomes.items()
        if isinstance(one, EndpointFailed) and one.failure.passing
    }
    settled = latest.keys() - (failed if retry else passing)
    repeats = max([1, *(repeat for repeat, _ in latest)])
    return CellStatus(
        cell=cell,
        digest=digest,
        recorded=len(latest),
        failed=len(failed),
        reused=len(settled),
        reused_without_number=len(failed & settled),
        due=tuple(_due_tests(cell, repeats, again, latest, settled)),
    )


def newest_reported(cell: EndpointCell, store: Store[EndpointRecord]) -> Reported:
    """What the server last reported of itself."""
    records = store.read(host_slug=this_host().slug, record_id=cell.id)
    own = [one for one in records if one.cell.spec_digest == cell.spec_digest]
    return own[-1].reported if own else Reported()


def _due_tests(
    cell: Cell | EndpointCell,
    repeats: int,
    again: int,
    latest: Mapping[Key, SpeedRecord] | Mapping[Key, EndpointRecord],
    settled: Collection[Key],
) -> Iterator[Due]:
    for number in range(1, repeats + again + 1):
        tests = tuple(test for test in cell.tests if (number, test) not in settled)
        if number > repeats:
            why = Why.AGAIN
        elif any((number, test) in latest for test in tests):
            why = Why.FAILED
        else:
            why = Why.NOT_RECORDED
        if tests:
            yield Due(number=number, tests=tests, why=why)


def _is_unstable(cell: Cell, latest: Mapping[Key, SpeedRecord]) -> bool:
    """Whether a test has not reached the target spread that the matrix has now."""
    target = cell.sweep.target_spread
    results = (
        result_of([record for (_, known), record in latest.items() if known == test])
        for test in cell.tests
    )
    return target is not None and any(
        replace(result, target_spread=target).unstable for result in results
    )


def still_due(
    status: CellStatus[Cell],
    due: Due,
    store: Store[SpeedRecord],
    *,
    host_slug: str = "",
) -> tuple[SpeedTest, ...]:
    """The tests of a repeat, without those that another process has measured since."""
    host_slug = host_slug or this_host().slug
    latest = _latest_tests(status.cell, status.digest, store, host_slug)
    since = {
        key
        for key, record in latest.items()
        if record.measured_at not in status.written_at
    }
    return tuple(test for test in due.tests if (due.number, test) not in since)


def trial_status(
    cell: AgentCell,
    store: Store[TrialRecord],
    *,
    again: int = 0,
    retry: bool = False,
    site: Site | None = None,
) -> CellStatus[AgentCell]:
    """The trials that an agent cell lacks.

    A trial that could not be run at all is always due; one that broke counts, until
    `retry` repeats it. Numbers beyond what the matrix asks for may have gaps: a
    comparison of pins was interrupted there.
    """
    site = site or this_site()
    digest = cell.digest(
        task_digest=task_digest(cell.task),
        host_slug=site.slug,
        compiler="" if cell.endpoint else site.compiler_of(cell),
    )
    latest = latest_trials(cell, digest, store, host_slug=site.slug)
    outcomes = {number: record.result.outcome for number, record in latest.items()}
    ran = {number for number, one in outcomes.items() if not isinstance(one, NotRun)}
    broken = {number for number in ran if isinstance(outcomes[number], Broken)}
    settled = ran - (broken if retry else set())
    last = max([cell.agent.trials, *ran])
    more = range(last + 1, last + 1 + again)
    wanted = {*range(1, cell.agent.trials + 1), *ran, *more}
    return CellStatus(
        cell=cell,
        digest=digest,
        recorded=len(ran),
        failed=len(broken),
        reused=len(settled),
        reused_without_number=sum(not is_scored(outcomes[one]) for one in settled),
        due=tuple(
            Due(
                number=number,
                why=Why.AGAIN
                if number in more
                else Why.FAILED
                if number in broken
                else Why.NOT_RECORDED,
            )
            for number in sorted(wanted - settled)
        ),
        written_at=frozenset(record.measured_at for record in latest.values()),
    )


def latest_trials(
    cell: AgentCell, digest: str, store: Store[TrialRecord], *, host_slug: str = ""
) -> dict[int, TrialRecord]:
    """The newest record of each trial under a digest, on this class of host by default."""
    host_slug = host_slug or this_host().slug
    records = store.read(host_slug=host_slug, record_id=cell.id)
    return {record.trial: record for record in records if record.cell.digest == digest}


def context_status(
    cell: ContextCell,
    store: Store[ContextRecord],
    *,
    again: bool = False,
    site: Site | None = None,
) -> tuple[CellStatus[ContextCell], ContextRecord | None]:
    """Whether a search is due, and the last settled answer to the same question."""
    slug = (site or this_site()).slug
    same = [
        record
        for record in store.read(host_slug=slug, record_id=cell.id)
        if record.cell.digest == cell.digest
    ]
    records = [record for record in same if record.settled]
    why = Why.AGAIN if records else Why.NOT_RECORDED
    due = (Due(number=len(records) + 1, why=why),) if again or not records else ()
    status = CellStatus(
        cell=cell,
        digest=cell.digest,
        recorded=len(records),
        reused=not due,
        due=due,
        written_at=frozenset(record.measured_at for record in same),
    )
    return status, records[-1] if records else None


def check_agents(cells: Sequence[AgentCell]) -> None:
    """MatrixError, with the key, where the matrix asks of agents what tasks do not have."""
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
        if (
            not cell.agent.has_context7
            and NEEDS_CONTEXT7 in load_task(cell.task).checks
        ):
            raise MatrixError(
                f"{where}.tools: {cell.task} cannot be passed without 'context7'"
            )
        _check_prompt_fits(cell)
        if not cell.server.metrics:
            raise MatrixError(
                f"matrix.toml: servers.{cell.server_key}.metrics: trials compare their "
                "counts with the server's counters: true, or another server"
            )


def _check_prompt_fits(cell: AgentCell) -> None:
    """MatrixError where the agent would compact forever instead of working."""
    agent = agent_of(cell, context7_url=None)
    room = agent.room_tokens(cell.model.ctx_size // cell.server.parallel)
    first = agent.first_prompt_tokens
    if room < first:
        shared = f" in each of {cell.server.parallel} slots"
        table = "endpoints" if cell.endpoint else "models"
        raise MatrixError(
            f"matrix.toml: {table}.{cell.model_key}.ctx_size less agents."
            f"{cell.agent_key}.output_tokens leaves {max(room, 0)} tokens"
            f"{shared if cell.server.parallel > 1 else ''}, and the first prompt of "
            f"{agent.name} {agent.version} has about {first}: it would compact forever; "
            "raise ctx_size, or lower output_tokens"
        )
