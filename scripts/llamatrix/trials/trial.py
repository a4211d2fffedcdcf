"""A trial: a prompt, the agent's work, the checks, and their findings as next prompt."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec

from llamatrix.agents.protocol import Agent, ToolCall
from llamatrix.agents.trajectory import is_page_request, write_trajectory
from llamatrix.agents.turn import Timeouts, Turn, TurnRun, run_trial_turn
from llamatrix.agents.turn_classification import has_acted
from llamatrix.agents.turn_outcome import (
    Answered,
    CutShort,
    EndpointDied,
    EndpointDown,
    JudgingFailed,
    NotRun,
    TurnOutcome,
    is_the_models,
)
from llamatrix.engines.protocol import Counters
from llamatrix.errors import MeasureError
from llamatrix.proxy.call import CallTimes
from llamatrix.proxy.totals import differing, read_counters
from llamatrix.redaction import Redaction, without_folders
from llamatrix.sandbox.workspace_archive import unpack_work
from llamatrix.trials.checks.finding import Judgement, Verdict
from llamatrix.trials.checks.judge import feedback, judge
from llamatrix.trials.checks.task import Task, read_prompt
from llamatrix.trials.trial_analysis import analyse
from llamatrix.trials.trial_environment import TrialEnvironment
from llamatrix.trials.trial_result import (
    Broken,
    Correct,
    Incorrect,
    TrialOutcome,
    TrialResult,
    TurnResult,
    Undecided,
)
from llamatrix.trials.workspace import begin_files, save_workspace

TRAJECTORY = "trajectory.jsonl"
REQUESTS = "requests.jsonl"


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    task: Task
    first_prompt: str = ""
    """In place of the task's own."""
    agent: Agent
    environment: TrialEnvironment
    """Its secrets are removed from everything that is recorded."""
    upstream: str
    """The model's address: with the path of its API where that is not `/v1`."""
    bearer: str = field(default="", repr=False)
    """A key that the model's server wants."""
    counters: Callable[[], Counters] | None
    """Reads the real server's counters; ServeError or NoAnswerError where it is gone.

    None where the server has none: tokens are then those of its answers' usage.
    """
    count_tokens: Callable[[str], int] | None
    folder: Path
    """Receives a folder for each turn and the trajectory, without keys."""
    aside: Path
    """A private folder for the unchanged files of the turns; removed after the trial."""
    timeouts: Timeouts
    max_turns: int
    on_turn: Callable[[str], None] = field(default=lambda _: None)
    """Receives progress messages."""


def run_trial(trial: Trial) -> TrialResult:
    """Prompt until the checks pass or the turns are used up; only the harness raises."""
    begun = time.monotonic()
    trial.folder.mkdir(parents=True)
    files = begin_files(trial.task.seed, trial.aside / "start.tar")
    runner = _Runner(trial=trial, files=files)
    outcome = runner.run()
    environment = trial.environment
    if log := environment.execution.agents_requests:  # images are identified by it
        clean = Redaction(secrets=environment.secrets).clean(Path(log).read_bytes())
        (trial.folder / REQUESTS).write_bytes(clean)
    worked, turns = time.monotonic(), runner.turns
    analysis = analyse(
        runner.trajectory if turns else None,
        workspace=runner.workspace,
        calls=trial.folder / f"turn-{len(turns)}" / "calls" if turns else None,
        wire_api=trial.agent.wire_api,
        count_tokens=trial.count_tokens,
        bwrap=environment.sandbox.bwrap,
    )
    ended = time.monotonic()
    others_s = sum(turn.seconds + turn.judged_s for turn in turns)
    return TrialResult(
        outcome=outcome,
        turns=tuple(turns),
        tdd=analysis.tdd,
        quality=analysis.quality,
        tokens=analysis.tokens,
        seconds=ended - begun,
        analysed_s=ended - worked,
        harness_s=worked - begun - others_s,
        unread=analysis.unread,
    )


@dataclass(kw_only=True, slots=True)
class _Runner:
    """A trial under way."""

    trial: Trial
    files: Path
    """The archive that the next turn starts from."""
    turns: list[TurnResult] = field(default_factory=list)
    workspace: Path | None = None
    """As the last turn left it."""
    session: str | None = None

    @property
    def trajectory(self) -> Path:
        return self.trial.folder / TRAJECTORY

    def run(self) -> TrialOutcome:
        trial = self.trial
        prompt = trial.first_prompt or read_prompt(trial.task)
        self.trajectory.touch()
        for number in range(1, trial.max_turns + 1):
            outcome = self._turn(number, prompt)
            if not isinstance(outcome, str):
                return outcome
            prompt = outcome
        return Incorrect(turns=trial.max_turns)

    def _turn(self, number: int, prompt: str) -> TrialOutcome | str:
        """Give one prompt; return the next one, or the outcome of the trial."""
        trial = self.trial
        trial.on_turn(f"turn {number} of at most {trial.max_turns}")
        before = read_counters(trial.counters) if trial.counters else None
        if isinstance(before, str):
            return Broken(turn=number, cause=EndpointDown(error=before))
        run = self._run(number, prompt)
        if isinstance(run.outcome, NotRun):
            return run.outcome
        differences: tuple[str, ...] = ()
        if trial.counters and is_the_models(run.outcome):  # else it may be gone
            after = read_counters(trial.counters)
            if isinstance(after, str):
                run = replace(run, outcome=EndpointDied(error=after))
            else:
                differences = differing(run.calls, before, after)
        judgement, judged_s = self._judge(number, run)
        if isinstance(judgement, JudgingFailed):
            run, judgement = replace(run, outcome=judgement), None
        self.turns.append(_turn_result(run, judgement, judged_s, differences))
        return _next(trial.task, number, run.outcome, judgement)

    def _run(self, number: int, prompt: str) -> TurnRun:
        trial, environment = self.trial, self.trial.environment
        before = environment.pages_served() if environment.pages_served else 0
        run = run_trial_turn(
            Turn(
                agent=trial.agent,
                sandbox=environment.sandbox,
                secrets=environment.secrets,
                upstream=trial.upstream,
                bearer=trial.bearer,
                by_usage=trial.counters is None,
                prompt=prompt,
                session=self.session,
                files=self.files,
                files_out=trial.aside / f"turn-{number}.tar",
                folder=trial.folder / f"turn-{number}",
                timeouts=trial.timeouts,
                acted_before=any(
                    has_acted(turn.calls, trial.agent.acting_tools)
                    for turn in self.turns
                ),
            )
        )
        if environment.pages_served and environment.pages_served() == before:
            run = replace(run, tool_calls=_without_pages(run.tool_calls))
        if not isinstance(run.outcome, NotRun):
            with self.trajectory.open("ab") as trajectory:
                trajectory.write(write_trajectory(run.tool_calls))
        if run.files:
            self.files.unlink()
            self.files = run.files
        self.session = run.events.session_id or self.session
        return run

    def _judge(
        self, number: int, run: TurnRun
    ) -> tuple[Judgement | JudgingFailed | None, float]:
        """Return what the checks find, None without an answer, and their time.

        Work that a timeout, a full disk or a full context ended is not an answer.
        """
        if run.files is None:
            return None, 0.0
        trial, name = self.trial, f"turn-{number}"
        self.workspace = trial.aside / name
        unpack_work(run.files, self.workspace, installed=False)
        redaction = Redaction(secrets=trial.environment.secrets)
        save_workspace(self.workspace, trial.folder / name / "workspace", redaction)
        if not isinstance(run.outcome, Answered | CutShort):
            return None, 0.0
        trial.on_turn(f"turn {number}: judging")
        begun = time.monotonic()
        judgement: Judgement | JudgingFailed
        try:
            judgement = judge(
                trial.task,
                self.workspace,
                transcript=self.trajectory,
                execution=trial.environment.execution,
            )
        except MeasureError as error:
            judgement = JudgingFailed(error=without_folders(str(error)))
        return judgement, time.monotonic() - begun


def _next(
    task: Task, number: int, outcome: TurnOutcome, judgement: Judgement | None
) -> TrialOutcome | str:
    """Return the next prompt after a turn, or the outcome of the trial."""
    if judgement is None:
        if is_the_models(outcome):
            return Incorrect(turns=number)
        return Broken(turn=number, cause=outcome)
    match judgement.verdict:
        case Verdict.PASSED:
            return Correct(turn=number)
        case Verdict.UNDECIDED:
            return Undecided(turn=number)
        case Verdict.FAILED:
            return feedback(task, judgement)


def _without_pages(calls: tuple[ToolCall, ...]) -> tuple[ToolCall, ...]:
    """Return the calls of a turn in which no page was served: no look-up found one."""
    return tuple(
        msgspec.structs.replace(call, completed=False, output="")
        if is_page_request(call)
        else call
        for call in calls
    )


def _turn_result(
    run: TurnRun,
    judgement: Judgement | None,
    judged_s: float,
    differences: tuple[str, ...],
) -> TurnResult:
    calls = sorted(run.calls, key=lambda call: call.begun_s)
    return TurnResult(
        outcome=run.outcome,
        seconds=run.seconds,
        first_call_s=calls[0].begun_s if calls else None,
        calls=tuple(
            CallTimes(
                kind=call.kind,
                begun_s=call.begun_s,
                first_token_s=call.first_token_s,
                ended_s=call.ended_s,
                prompt_tokens=call.timings.prompt_n if call.timings else None,
                generated_tokens=call.timings.predicted_n if call.timings else None,
                tool_calls=call.tool_calls,
            )
            for call in calls
        ),
        totals=run.totals,
        disagreements=differences,
        tool_uses=len(run.tool_calls),
        failed_tool_uses=sum(not call.completed for call in run.tool_calls),
        judgement=judgement,
        judged_s=judged_s,
        left_running=run.left_running,
        left_out=run.left_out,
    )
