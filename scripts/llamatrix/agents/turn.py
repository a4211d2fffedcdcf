"""One turn of a trial: an agent with one prompt, in its sandbox, through the tap."""

import time
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from llamatrix.agents.protocol import Agent, AgentEvents, ToolCall
from llamatrix.agents.turn_classification import (
    Stop,
    TurnObservation,
    compacts_for_ever,
    outcome_of,
)
from llamatrix.agents.turn_outcome import (
    CompactedForEver,
    NotRun,
    SandboxLost,
    TurnOutcome,
    WhyNotRun,
)
from llamatrix.config.matrix import Network
from llamatrix.progress import say
from llamatrix.proxy.agent_process import AgentProcess
from llamatrix.proxy.call import Call, CallKind
from llamatrix.proxy.proxy import Tap
from llamatrix.proxy.serving import address, loopback_listener, serving
from llamatrix.proxy.tool_uses import read_tool_uses
from llamatrix.proxy.totals import Totals, totals
from llamatrix.reason import telling_lines
from llamatrix.redaction import Redaction, without_folders
from llamatrix.sandbox.session import LostError, SandboxSession, open_sandbox
from llamatrix.sandbox.spec import SandboxSpec, base_environment, probe
from llamatrix.sandbox.supervisor import Report
from llamatrix.sandbox.workspace_archive import add_home
from llamatrix.scratch import scratch_folder
from llamatrix.shell import TAIL_LINES
from llamatrix.units import duration_text

MODEL_PORT = 8099
"""The port of the model inside a hermetic sandbox."""
_POLL_S = 0.05


@dataclass(frozen=True, kw_only=True, slots=True)
class Timeouts:
    total_s: float
    silence_s: float
    """Without a line from the agent or a byte at the tap; a slow prefill is silent."""
    failures: int = 3
    """Failed calls in a row that end a turn: some agents would retry for ever."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    agent: Agent
    sandbox: SandboxSpec
    """With the agent's programs among its tools."""
    secrets: tuple[str, ...] = field(default=(), repr=False)
    """Texts that are removed from everything that is recorded."""
    upstream: str
    """The model server's address: with the path of its API where that is not `/v1`."""
    bearer: str = field(default="", repr=False)
    """A key that the server wants."""
    by_usage: bool = False
    """Whether tokens are taken from answers' usage where they have no timings."""
    prompt: str
    session: str | None
    """The session to resume; None begins one."""
    files: Path
    """The archive the turn starts from: a packed seed, or the last turn's `files_out`."""
    files_out: Path
    """The archive it leaves. It may contain keys and is not recorded."""
    folder: Path
    """Receives the recording: `calls/`, `events.jsonl`, `stderr.txt`."""
    timeouts: Timeouts
    acted_before: bool = False
    """Whether the model had run commands or changed files in an earlier turn."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TurnRun:
    outcome: TurnOutcome
    events: AgentEvents = field(default_factory=AgentEvents)
    calls: tuple[Call, ...] = ()
    tool_calls: tuple[ToolCall, ...] = ()
    """As they passed between the agent and the model."""
    totals: Totals
    seconds: float = 0
    files: Path | None = None
    """`files_out`; None where nothing came out."""
    left_running: tuple[str, ...] = ()
    """Programs that the agent had left running; they were ended."""
    left_out: tuple[str, ...] = ()
    """Files that were too large or too many to come out."""


def run_trial_turn(turn: Turn) -> TurnRun:
    """Run the agent once and name the outcome; nothing that an agent does raises."""
    if problem := probe(turn.sandbox.bwrap):
        why = WhyNotRun.NO_SANDBOX
        not_run = NotRun(why=why, reason=problem.reason, remedy=problem.remedy)
        return TurnRun(outcome=not_run, totals=totals(()))
    turn.folder.mkdir(parents=True, exist_ok=True)
    agent, redaction = turn.agent, Redaction(secrets=turn.secrets)
    tap = Tap(
        upstream=turn.upstream,
        bearer=turn.bearer,
        folder=turn.folder / "calls",
        wire_api=agent.wire_api,
        classify=agent.classify_request,
        redaction=redaction,
    )
    watch = _Watch(turn=turn, tap=tap)
    with scratch_folder("turn") as aside:
        complaints = aside / "stderr"
        complaints.touch()
        report: Report | LostError
        try:
            report = _run_in_sandbox(turn, tap, watch, complaints)
        except LostError as error:
            report = error
        stderr = redaction.clean(complaints.read_bytes())
    (turn.folder / "stderr.txt").write_bytes(stderr)
    stdout = redaction.clean("\n".join([*watch.lines, ""]).encode())
    (turn.folder / "events.jsonl").write_bytes(stdout)
    events = agent.parse_events(stdout.decode(errors="replace").split("\n"))
    calls = tuple(tap.calls)
    if isinstance(report, LostError):
        reason = redaction.clean(str(report).encode()).decode()
        return TurnRun(
            outcome=SandboxLost(reason=without_folders(reason)),
            events=events,
            calls=calls,
            totals=totals(calls),
            seconds=watch.seconds,
        )
    lines = stderr.decode(errors="replace").splitlines()
    observation = TurnObservation(
        agent=agent,
        stop=watch.stop,
        seconds=watch.seconds,
        silent_s=watch.silent_s,
        report=report,
        events=events,
        calls=calls,
        tools_missing=watch.tools_missing(),
        tail=telling_lines(lines, most=TAIL_LINES),
        compacted_for_ever=watch.compacted_for_ever(),
        acted_before=turn.acted_before,
    )
    uses = read_tool_uses(tap.folder, calls, agent.wire_api)
    return TurnRun(
        outcome=outcome_of(observation),
        events=events,
        calls=calls,
        tool_calls=tuple(agent.read_tool_use(use) for use in uses),
        totals=totals(calls, by_usage=turn.by_usage),
        seconds=watch.seconds,
        files=turn.files_out,
        left_running=tuple(report["left_running"]),
        left_out=tuple(report["left_out"]),
    )


def _run_in_sandbox(turn: Turn, tap: Tap, watch: "_Watch", complaints: Path) -> Report:
    """Open the sandbox, serve what it may reach, and run the program to its end."""
    agent = turn.agent
    sandbox = replace(turn.sandbox, ports=(MODEL_PORT,), discarded=agent.discarded)
    job = sandbox.job(
        agent.argv(turn.session),
        env={**base_environment(), **agent.environment, **sandbox.environment},
        stdin=turn.prompt,
    )
    with ExitStack() as held:
        session = held.enter_context(open_sandbox(sandbox, job, complaints=complaints))
        if sandbox.network is Network.ONLINE:
            model = held.enter_context(loopback_listener())
            endpoint = address(model)
        else:
            (model,) = session.listeners
            endpoint = f"http://127.0.0.1:{MODEL_PORT}"
        tap.agent = AgentProcess(sandbox=session.process_id, program=agent.process_name)
        held.enter_context(serving(tap.app(), [model]))
        add_home(turn.files, agent.files(endpoint))
        session.begin(turn.files)
        watch.see_through(session)
        report = session.finish(turn.files_out)
        watch.keep(session.last_words())
        return report


@dataclass(kw_only=True, slots=True)
class _Watch:
    turn: Turn
    tap: Tap
    lines: list[str] = field(default_factory=list)
    stop: Stop | None = None
    seconds: float = 0.0
    silent_s: float = 0.0
    reported: int = 0
    """Failed calls in a row that were reported."""

    def see_through(self, session: SandboxSession) -> None:
        begun = heard = time.monotonic()
        while not session.over():
            lines = session.hear(wait_s=_POLL_S)
            now = time.monotonic()
            if lines:
                self.keep(lines)
                heard = now
            self.seconds = now - begun
            self.silent_s = now - max(heard, self.tap.heard, begun)
            self._report_failures()
            self.stop = self._reason_to_stop()
            if self.stop:
                session.stop()
                break
        self.seconds = time.monotonic() - begun

    def keep(self, lines: Iterable[str]) -> None:
        self.lines += filter(self.turn.agent.keeps_event, lines)

    def tools_missing(self) -> tuple[str, ...]:
        first = next((c for c in self.tap.calls if c.kind is CallKind.MAIN), None)
        if first is None:
            return ()
        return tuple(sorted(self.turn.agent.tools_expected - set(first.tools_offered)))

    def compacted_for_ever(self) -> CompactedForEver | None:
        agent = self.turn.agent
        return compacts_for_ever(
            self.tap.calls,
            room_tokens=agent.room_tokens(agent.context_tokens),
            first_turn=self.turn.session is None,
        )

    def _report_failures(self) -> None:
        """Say what the model server answers while the agent retries in silence."""
        failures = self.tap.failures_in_a_row()
        if failures > self.reported:
            call = self.tap.calls[-1]
            what = f"HTTP {call.status}" if call.status else "nothing"
            say(
                f"  the model server answered {what} ({call.error[:100]}), failure "
                f"{failures} of {self.turn.timeouts.failures} since "
                f"{duration_text(self.silent_s)}; waiting for {self.turn.agent.name} "
                "to retry"
            )
        self.reported = failures

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
