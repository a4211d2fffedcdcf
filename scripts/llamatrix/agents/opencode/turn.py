"""One turn of a trial: OpenCode with one prompt, in its sandbox, through the tap."""

import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from llamatrix.agents.opencode.classification import (
    Stop,
    TurnObservation,
    compacts_for_ever,
    outcome_of,
)
from llamatrix.agents.opencode.events import Session, parse
from llamatrix.agents.opencode.home import Agent, home_files
from llamatrix.agents.opencode.program import MODEL_URL, argv, environment
from llamatrix.agents.turn_outcome import (
    CompactedForEver,
    NotRun,
    SandboxLost,
    TurnOutcome,
    WhyNotRun,
)
from llamatrix.config.matrix import Network
from llamatrix.progress import say
from llamatrix.proxy.call import Call
from llamatrix.proxy.caller import AgentProcess
from llamatrix.proxy.proxy import Tap
from llamatrix.proxy.request import Kind
from llamatrix.proxy.serving import address, loopback_listener, serving
from llamatrix.proxy.tool_uses import ObservedUse, read_tool_uses
from llamatrix.proxy.totals import Totals, totals
from llamatrix.reason import telling_lines
from llamatrix.redaction import Redaction, without_folders
from llamatrix.sandbox.forwarding import forwarding
from llamatrix.sandbox.session import LostError, SandboxSession, open_sandbox
from llamatrix.sandbox.spec import Sandbox, probe
from llamatrix.sandbox.supervisor import Job, Report
from llamatrix.sandbox.workspace_archive import add_home
from llamatrix.scratch import scratch_folder
from llamatrix.shell import TAIL_LINES
from llamatrix.units import duration_text

MODEL_PORT = 8099
"""Where the model is, inside a hermetic sandbox."""
_LOOK_EVERY_S = 0.05


@dataclass(frozen=True, kw_only=True, slots=True)
class Timeouts:
    """How long a turn may take, and be silent."""

    total_s: float
    silence_s: float
    """Without a line from OpenCode or a byte at the tap; a slow prefill is silent."""
    failures: int = 3
    """Failed calls in a row that end a turn: OpenCode would try for ever."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Surroundings:
    """What the agent finds around it, beside the model."""

    network: Network = Network.HERMETIC
    tools: Mapping[str, Path] = field(default_factory=dict)
    """Programs for its PATH: `opencode` and `rg` at least, then `uv`, `node` …"""
    shown: Mapping[Path, Path] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    hosts: Mapping[str, str] = field(default_factory=dict)
    """Addresses by name, for `/etc/hosts`."""
    forwards: Mapping[int, int] = field(default_factory=dict)
    """Ports of the sandbox's loopback, and where they lead on this machine's."""
    secrets: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    bwrap: Path
    agent: Agent
    surroundings: Surroundings
    upstream: str
    """The model server's address without a path."""
    prompt: str
    session: str | None
    """The session to go on with; None begins one."""
    files: Path
    """The tar the turn starts from: `carried.pack`, or the last turn's `files_out`."""
    files_out: Path
    """The tar it leaves. Keys may be in it: not within what is recorded."""
    folder: Path
    """Where this turn's recording goes: `calls/`, `events.jsonl`, `stderr.txt`."""
    timeouts: Timeouts
    acted_before: bool = False
    """Whether the model had run commands or changed files in an earlier turn."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TurnRun:
    outcome: TurnOutcome
    session: Session
    """As OpenCode's standard output has it, which the agent's programs can write to."""
    calls: tuple[Call, ...]
    tool_uses: tuple[ObservedUse, ...]
    """As they passed between OpenCode and the model."""
    totals: Totals
    seconds: float
    files: Path | None
    """What came out: working state, not a record. None where nothing did."""
    left_running: tuple[str, ...] = ()
    """Programs the agent had left behind; they were ended."""
    left_out: tuple[str, ...] = ()
    """Files too large or too many to come out."""


def run_trial_turn(turn: Turn) -> TurnRun:
    """Run OpenCode once and say what came of it; nothing an agent does raises."""
    if problem := probe(turn.bwrap):
        why = WhyNotRun.NO_SANDBOX
        return _without_files(
            NotRun(why=why, reason=problem.reason, remedy=problem.remedy), parse(()), ()
        )
    turn.folder.mkdir(parents=True, exist_ok=True)
    redaction = Redaction(secrets=turn.surroundings.secrets)
    calls = turn.folder / "calls"
    tap = Tap(upstream=turn.upstream, folder=calls, redaction=redaction)
    watch = _Watch(turn=turn, tap=tap)
    with scratch_folder("turn") as aside:
        complaints = aside / "stderr"
        complaints.touch()
        try:
            ended: Report | LostError = _confined(turn, tap, watch, complaints)
        except LostError as error:
            ended = error
        said = redaction.clean(complaints.read_bytes())
    (turn.folder / "stderr.txt").write_bytes(said)
    lines = redaction.clean("\n".join([*watch.lines, ""]).encode())
    (turn.folder / "events.jsonl").write_bytes(lines)
    session = parse(lines.decode(errors="replace").split("\n"))
    if isinstance(ended, LostError):
        said = redaction.clean(str(ended).encode())
        lost = SandboxLost(reason=without_folders(said.decode()))
        return _without_files(lost, session, tuple(tap.calls), seconds=watch.seconds)
    observation = TurnObservation(
        stop=watch.stop,
        seconds=watch.seconds,
        silent_s=watch.silent_s,
        report=ended,
        session=session,
        calls=tap.calls,
        tools_missing=watch.tools_missing(),
        tail=telling_lines(said.decode(errors="replace").splitlines(), most=TAIL_LINES),
        compacted_for_ever=watch.compacted_for_ever(),
        acted_before=turn.acted_before,
    )
    return TurnRun(
        outcome=outcome_of(observation),
        session=session,
        calls=tuple(tap.calls),
        tool_uses=read_tool_uses(calls, tap.calls),
        totals=totals(tap.calls),
        seconds=watch.seconds,
        files=turn.files_out,
        left_running=tuple(ended["left_running"]),
        left_out=tuple(ended["left_out"]),
    )


def _without_files(
    outcome: TurnOutcome,
    session: Session,
    calls: tuple[Call, ...],
    *,
    seconds: float = 0,
) -> TurnRun:
    return TurnRun(
        outcome=outcome,
        session=session,
        calls=calls,
        tool_uses=(),
        totals=totals(calls),
        seconds=seconds,
        files=None,
    )


def _confined(turn: Turn, tap: Tap, watch: "_Watch", complaints: Path) -> Report:
    """Open the sandbox, serve what it may reach, and see the program through."""
    around = turn.surroundings
    sandbox = Sandbox(
        network=around.network,
        ports=(MODEL_PORT, *around.forwards),
        tools=around.tools,
        shown=around.shown,
    )
    online = around.network is Network.ONLINE
    with ExitStack() as held:
        own = held.enter_context(loopback_listener()) if online else None
        url = address(own) if own else f"http://127.0.0.1:{MODEL_PORT}"
        job = _job(turn, sandbox, url)
        session = held.enter_context(
            open_sandbox(
                turn.bwrap, sandbox, job, complaints=complaints, hosts=around.hosts
            )
        )
        model, *others = [own] if own else session.listeners
        ways = list(zip(others, around.forwards.values(), strict=not online))
        held.enter_context(forwarding(ways))
        tap.agent = AgentProcess(sandbox=session.process_id, program=job["argv"][0])
        held.enter_context(serving(tap.app(), [model]))
        add_home(turn.files, home_files(turn.agent))
        session.begin(turn.files)
        watch.see_through(session)
        report = session.finish(turn.files_out)
        watch.lines += session.last_words()
        return report


def _job(turn: Turn, sandbox: Sandbox, url: str) -> Job:
    agent = turn.agent
    words = argv(model=agent.model, title=agent.title, session=turn.session)
    extra = {**turn.surroundings.environment, MODEL_URL: f"{url}/v1"}
    return sandbox.job(
        words, env=environment(extra, lsp=agent.lsp_on), stdin=turn.prompt
    )


@dataclass(kw_only=True, slots=True)
class _Watch:
    """Looks on while a turn runs, and has it ended when it is time."""

    turn: Turn
    tap: Tap
    lines: list[str] = field(default_factory=list)
    stop: Stop | None = None
    seconds: float = 0.0
    silent_s: float = 0.0
    told: int = 0
    """Failed calls in a row that were told of."""

    def see_through(self, session: SandboxSession) -> None:
        begun = heard = time.monotonic()
        while not session.over():
            lines = session.hear(wait_s=_LOOK_EVERY_S)
            now = time.monotonic()
            if lines:
                self.lines += lines
                heard = now
            self.seconds = now - begun
            self.silent_s = now - max(heard, self.tap.heard, begun)
            self._tell_failures()
            self.stop = self._reason_to_stop()
            if self.stop:
                session.stop()
                break
        self.seconds = time.monotonic() - begun

    def tools_missing(self) -> tuple[str, ...]:
        """What the first request of the main agent should have offered."""
        first = next((c for c in self.tap.calls if c.kind is Kind.MAIN), None)
        if first is None:
            return ()
        return tuple(sorted(self.turn.agent.tools_expected - set(first.tools_offered)))

    def compacted_for_ever(self) -> CompactedForEver | None:
        return compacts_for_ever(
            self.tap.calls,
            room_tokens=self.turn.agent.room_tokens,
            begins=self.turn.session is None,
        )

    def _tell_failures(self) -> None:
        """Say what the model's server answers while OpenCode tries again in silence."""
        failures = self.tap.failures_in_a_row()
        if failures > self.told:
            call = self.tap.calls[-1]
            what = f"HTTP {call.status}" if call.status else "nothing"
            say(
                f"  the model's server answered {what} ({call.error[:100]}), failure "
                f"{failures} of {self.turn.timeouts.failures} since "
                f"{duration_text(self.silent_s)}; waiting for OpenCode to try again"
            )
        self.told = failures

    def _reason_to_stop(self) -> Stop | None:
        timeouts = self.turn.timeouts
        if self.seconds > timeouts.total_s:
            return Stop.TOTAL
        if self.silent_s > timeouts.silence_s:
            waiting = self.tap.calls_open
            return Stop.SILENT_ENDPOINT if waiting else Stop.SILENT_AGENT
        if self.tap.failures_in_a_row() >= timeouts.failures:
            return Stop.FAILURES
        if self.compacted_for_ever():
            return Stop.COMPACTIONS
        return Stop.TOOLS if self.tools_missing() else None
