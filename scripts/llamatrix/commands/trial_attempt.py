"""One attempt at a trial: a fresh server, a fresh environment, and the record of it."""

import os
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import msgspec

from llamatrix.agents.protocol import Agent
from llamatrix.agents.registry import agent_of
from llamatrix.agents.turn import Timeouts
from llamatrix.agents.turn_outcome import EndpointDied, EndpointDown, NotRun
from llamatrix.commands.pending import CellStatus
from llamatrix.commands.trial_parts import AgentParts, ServedParts
from llamatrix.config.agent_cell import AgentCell
from llamatrix.config.lock import WeightsPin
from llamatrix.config.matrix import Backend
from llamatrix.engines.endpoint.client import api_key
from llamatrix.engines.protocol import Endpoint, Launch, StartupError
from llamatrix.engines.registry import ENGINE
from llamatrix.errors import ServeError
from llamatrix.host import this_host
from llamatrix.measure.disturbances import disturbances_throughout
from llamatrix.measure.telemetry import Telemetry, sampling
from llamatrix.measured_environment import process_conditions
from llamatrix.progress import bar, say
from llamatrix.project import Project
from llamatrix.provision.build import Manifest, manifest_of
from llamatrix.provision.programs import uv_version
from llamatrix.provision.weights.gguf_shape import shape_of_file
from llamatrix.provision.weights.provide import WeightsFacts
from llamatrix.proxy.serving import address, loopback_listener, serving
from llamatrix.records.store import stamp
from llamatrix.records.trial_record import (
    Served,
    ServerMemory,
    TrialRecord,
    template_facts,
    trial_facts,
)
from llamatrix.redaction import Redaction, file_name, without_folders
from llamatrix.scratch import scratch_folder
from llamatrix.trials.checks.task import (
    Task,
    check_version,
    load_task,
    read_prompt,
    task_digest,
)
from llamatrix.trials.scripted import Player, script_of
from llamatrix.trials.stubs.serving import Services
from llamatrix.trials.trial import Trial, run_trial
from llamatrix.trials.trial_environment import (
    hermetic_environment,
    online_environment,
)
from llamatrix.trials.trial_result import Broken, TrialResult

_TOKENIZE_TIMEOUT_S = 120.0
_TRAJECTORIES = "trajectories"


def attempt(
    status: CellStatus[AgentCell],
    number: int,
    parts: AgentParts,
    project: Project,
    services: Services | None,
    *,
    trajectory: str,
) -> TrialRecord:
    """Serve, try and describe. The server is fresh: no cache outlives a trial.

    What is in `trajectory`, a folder's name below the host's records, is clean of keys.
    """
    cell, task = status.cell, load_task(status.cell.task)
    with ExitStack() as stack:
        aside = stack.enter_context(scratch_folder("trial"))
        log = project.logs / f"{cell.id.replace('/', '-')}.log"
        sampler = stack.enter_context(sampling())  # sees the card without the server
        speaker: _Speaker | Broken
        if parts.served is None:
            speaker = _endpoint_of(cell)
        else:
            speaker = _served(launch_of(cell, number, parts.served), log, stack)
        if isinstance(speaker, Broken):
            return _record(status, number, TrialResult(outcome=speaker))
        sampler.since_last_take()  # loading is no part of it
        environment = (
            stack.enter_context(
                hermetic_environment(task, parts.tools, aside, services)
            )
            if services
            else online_environment(task, parts.tools, os.environ)
        )
        turns = aside / "turns"
        turns.mkdir()
        agent = agent_of(cell, context7_url=environment.context7_url)
        played = stack.enter_context(_playing(cell, task, number, speaker, agent))
        secrets = (*environment.secrets, *speaker.secrets)
        label = f"{cell.id} #{number}"
        progress = stack.enter_context(bar(label, total=cell.agent.max_turns))

        def on_turn(what: str) -> None:
            """Say it; a turn has two halves, the agent's and the checks'."""
            say(f"  {what}")
            done = progress.done + 0.5 if progress.note else 0.0
            progress.reach(done, note=what)

        result = run_trial(
            Trial(
                task=task,
                first_prompt=cell.agent.first_prompt.replace(
                    "{task}", read_prompt(task).strip()
                ),
                agent=agent,
                environment=replace(environment, secrets=secrets),
                upstream=played[1] if played else speaker.url,
                bearer="" if played else speaker.key,
                counters=speaker.server.counters if speaker.server else None,
                count_tokens=partial(
                    speaker.server.count_tokens, timeout_s=_TOKENIZE_TIMEOUT_S
                )
                if speaker.server
                else None,
                folder=folder_of(trajectory, project),
                aside=turns,
                timeouts=Timeouts(
                    total_s=cell.agent.turn_timeout_s,
                    silence_s=cell.agent.silence_timeout_s,
                ),
                max_turns=cell.agent.max_turns,
                on_turn=on_turn,
            )
        )
        if played:
            refusals = tuple(played[0].refusals)
            result = msgspec.structs.replace(result, refusals=refusals)
        clean = Redaction(secrets=secrets).clean
        result = msgspec.json.decode(
            clean(msgspec.json.encode(result)), type=TrialResult
        )
        telemetry = sampler.since_last_take()
        if parts.served is None or speaker.server is None:
            served = _unverified(cell, trajectory)
            return _record(status, number, result, served)
        return _record(
            status,
            number,
            result,
            Served(
                weights=parts.served.weights.facts,
                template=template_facts(parts.served.template),
                argv=tuple(map(file_name, speaker.server.argv)),
                memory=ServerMemory(
                    loaded_rss_bytes=speaker.loaded_rss_bytes,
                    peak_rss_bytes=_peak_bytes(speaker.server),
                ),
                spilled=_spilled(cell, parts.served, speaker.server),
                telemetry=msgspec.structs.replace(
                    telemetry, disturbances=disturbances_throughout(telemetry)
                ),
                trajectory=trajectory,
            ),
            template_sha256=speaker.server.template_sha256,
        )


def new_trajectory(status: CellStatus[AgentCell], number: int) -> str:
    """A name that no other attempt has."""
    name = f"{status.digest[:12]}-{number}-{uuid.uuid4().hex[:6]}"
    return f"{_TRAJECTORIES}/{status.cell.id}/{name}"


def folder_of(trajectory: str, project: Project) -> Path:
    return project.records / this_host().slug / trajectory


def not_run(status: CellStatus[AgentCell], number: int, why: NotRun) -> TrialRecord:
    return _record(status, number, TrialResult(outcome=why))


def launch_of(cell: AgentCell, number: int, parts: ServedParts) -> Launch:
    """The cell's server with the seed and the temperature of this trial."""
    served = parts.launch.model
    model = msgspec.structs.replace(served, temp=cell.temperature_of(number))
    return replace(parts.launch, model=model, seed=cell.seed_of(number))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Speaker:
    url: str
    key: str = field(default="", repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)
    server: Endpoint | None = None
    """None for an endpoint, which tells neither memory nor counters …"""
    loaded_rss_bytes: int = 0


def _endpoint_of(cell: AgentCell) -> _Speaker:
    if cell.endpoint is None:
        raise AssertionError
    key, name = api_key(cell.endpoint, os.environ), cell.endpoint.model
    secrets = [key, name] if name.startswith("/") else [key]
    return _Speaker(
        url=cell.endpoint.base_url, key=key, secrets=tuple(filter(None, secrets))
    )


def _unverified(cell: AgentCell, trajectory: str) -> Served:
    """What the record says of an endpoint's server; cards here may be no part of it."""
    return Served(
        weights=WeightsFacts(
            kind=cell.weights,
            file=cell.model.name,
            sha256="",
            file_bytes=0,
            weights_pin=WeightsPin.UNVERIFIED,
        ),
        template=None,
        argv=(),
        memory=None,
        telemetry=Telemetry(),
        trajectory=trajectory,
    )


def _served(launch: Launch, log: Path, stack: ExitStack) -> _Speaker | Broken:
    """The server and what it holds; its death, early or late, stops only the trial."""
    try:
        server = stack.enter_context(ENGINE.serve(launch, log=log))
    except StartupError as error:
        line = error.log_line and f"; it said: {without_folders(error.log_line)}"
        return Broken(turn=1, cause=EndpointDown(error=_first_line(error) + line))
    try:
        loaded = server.memory().rss_bytes
        return _Speaker(url=server.url, server=server, loaded_rss_bytes=loaded)
    except ServeError as error:
        return Broken(turn=1, cause=EndpointDied(error=_first_line(error)))


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def _peak_bytes(server: Endpoint) -> int | None:
    try:
        return server.memory().peak_rss_bytes
    except ServeError:
        return None


@contextmanager
def _playing(
    cell: AgentCell, task: Task, number: int, speaker: _Speaker, agent: Agent
) -> Iterator[tuple[Player, str] | None]:
    """Serve the trial's transcript in front of the server, and yield its address.

    None where the model speaks for itself.
    """
    script = cell.script_of(number)
    if script is None:
        yield None
        return
    player = Player(
        transcript=script_of(task, script),
        agent=agent,
        upstream=speaker.url.removesuffix("/v1"),
        bearer=speaker.key,
    )
    with loopback_listener() as listener, serving(player.app(), [listener]):
        yield player, address(listener)


def _spilled(cell: AgentCell, parts: ServedParts, server: Endpoint) -> tuple[str, ...]:
    """What should be on the card and is not, by the server's log; nothing on a CPU."""
    if cell.build.backend is not Backend.CUDA:
        return ()
    host_bytes = shape_of_file(parts.weights.path).embedding_bytes
    return (*server.off_card(host_bytes=host_bytes), *server.split_graph())


def _no_build(cell: AgentCell) -> Manifest:
    """What is known of an endpoint's build: nothing but its own words."""
    return Manifest(
        key="",
        commit="",
        build_number=0,
        backend="",
        compiler="",
        cmake={},
        source_note=f"an endpoint, unverified: it reports {cell.locked.rev or 'nothing'}",
    )


def _record(
    status: CellStatus[AgentCell],
    number: int,
    result: TrialResult,
    served: Served | None = None,
    *,
    template_sha256: str = "",
) -> TrialRecord:
    cell = status.cell
    spec_digest = cell.spec_digest(task_digest=task_digest(cell.task))
    return TrialRecord(
        cell=trial_facts(
            cell, digest=status.digest, spec_digest=spec_digest, trial=number
        ),
        trial=number,
        seed=cell.seed_of(number),
        temperature=cell.temperature_of(number),
        result=result,
        check_version=check_version(cell.task),
        agent_kind=cell.agent.kind,
        agent_version=cell.program.version,
        context7=cell.context7.version,
        uv=uv_version(),
        served=served,
        locked=cell.locked,
        build=_no_build(cell) if cell.endpoint else manifest_of(cell),
        environment=cell.server.env,
        served_template_sha256=template_sha256,
        **stamp(),
        same_environment=process_conditions(),
    )
