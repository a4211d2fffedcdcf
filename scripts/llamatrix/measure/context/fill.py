"""Fills the context of one running server step by step, and explains its failures."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from llamatrix.engines.outcome import Crashed, OutOfMemory, Stage, TimedOut
from llamatrix.engines.protocol import Endpoint, StartupError, StartupFailure
from llamatrix.errors import ServeError
from llamatrix.measure.context.generation import (
    GENERATED_TOKENS,
    SMALLEST_TOKENS,
    CompletionTimings,
    FailedRequest,
    generate,
)
from llamatrix.measure.context.recall import FillerText
from llamatrix.measure.context.result import (
    ContextStep,
    Failure,
    Footprint,
    OverBudget,
    StopReason,
    Unanswered,
    footprint,
)
from llamatrix.measure.telemetry import Sampler
from llamatrix.shell import TAIL_LINES, read_log
from llamatrix.web import NoAnswerError, WrongAnswerError

_EXIT_GRACE_S = 3.0
"""How long a server may take to end after its connection broke."""
_POLL_S = 0.05
_KILLED_EXIT_CODE = 1
"""Stands for the exit code of a server that we ended."""
_DECISIVE_ANSWERS = 3
"""Where one answer alone would decide: at the smallest context and below the floor."""
_SLOW_STEPS = 2
"""In a row: a single one may have been slowed by the machine."""
_MAX_SLOWDOWN = 1.3
"""Of prefill from one step to the next, as the context fills."""


def loading_failure(
    error: StartupError, weights: Path, log: Path, after_s: float
) -> Failure:
    """Return a failed start as data; raise it again if its cause is not the size."""
    tail = tail_of(read_log(log), log, weights)
    match error.failure:
        case StartupFailure.MEMORY:
            tail = (*tail_of(error.log_line, log, weights), *tail)
            return OutOfMemory(
                exit_code=_KILLED_EXIT_CODE, tail=tail, stage=Stage.LOADING
            )
        case StartupFailure.SLOW:
            return TimedOut(after_s=after_s, tail=tail)
        case StartupFailure.UNKNOWN:
            return Crashed(exit_code=_KILLED_EXIT_CODE, tail=tail)
        case (
            StartupFailure.PORT_TAKEN | StartupFailure.WEIGHTS | StartupFailure.TEMPLATE
        ):
            raise error


def request_failure(
    serving: Endpoint, request: FailedRequest, *, log_begin: int, after_s: float
) -> Failure:
    """Explain a failed request by the server's state and its log from `log_begin` on."""
    deadline = time.monotonic() + _EXIT_GRACE_S
    while (code := serving.poll()) is None and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    log, weights = serving.log, serving.launch.weights
    text = read_log(log)[log_begin:]
    tail = tail_of(text, log, weights)
    if code is None:
        if request.timed_out:
            return TimedOut(after_s=after_s, tail=(request.reason, *tail))
        return Unanswered(said=request.reason, tail=tail)
    failure, log_line = serving.diagnose(text, code)
    if failure is StartupFailure.MEMORY:
        tail = (*tail_of(log_line, log, weights), *tail)
        return OutOfMemory(exit_code=code, tail=tail, stage=request.stage)
    return Crashed(exit_code=code, tail=tail)


def tail_of(text: str, *files: Path) -> tuple[str, ...]:
    """Return the last lines without the folders of these files."""
    for file in files:
        text = text.replace(f"{file.parent}/", "")
    return tuple(text.splitlines()[-TAIL_LINES:])


@dataclass(frozen=True, kw_only=True, slots=True)
class FillBounds:
    min_speed_ratio: float
    """Of the speed at the smallest context."""
    deadline: float
    """On the monotonic clock: a step that would end after it is not started."""
    max_bytes: int | None = None
    """Measured memory that the server may hold; None leaves that to the machine."""
    grace_s: float = 60.0
    """Time for an answer beyond the deadline."""

    @property
    def answer_timeout_s(self) -> float:
        return max(self.deadline - time.monotonic(), 0.0) + self.grace_s

    def over_budget(self, footprint: Footprint) -> OverBudget | None:
        if self.max_bytes is None or footprint.held_bytes <= self.max_bytes:
            return None
        return OverBudget(held_bytes=footprint.held_bytes)


@dataclass(frozen=True, kw_only=True, slots=True)
class FillFailure:
    """The server or its answer was lost at a step."""

    at_tokens: int
    failure: Failure


class ContextFiller:
    def __init__(self, serving: Endpoint, sampler: Sampler, bounds: FillBounds) -> None:
        self.text = FillerText(serving.tokenize)
        self._serving = serving
        self._sampler = sampler
        self._bounds = bounds
        self._end_tokens = serving.end_tokens()
        self._log_begin = len(read_log(serving.log))

    def fill(
        self,
        sizes: Sequence[int],
        *,
        known: Sequence[ContextStep],
        on_step: Callable[[ContextStep], None],
    ) -> StopReason | FillFailure:
        """Fill the context to each size in turn and pass each step on once it is known.

        `known` are the steps of earlier servers.
        """
        done = list(known)
        cached = False  # whether this server has a cache of the prompt
        begin = time.monotonic()
        warm_up = self._answer(SMALLEST_TOKENS // 2)
        if isinstance(warm_up, FailedRequest):
            return self._failure(sizes[0], warm_up, begin)
        slow = 0
        for tokens in sizes:
            if done and self._is_too_late(tokens, done[-1], cached=cached):
                return StopReason.TIME
            begin = time.monotonic()
            answers, failed = self._answers(tokens, self._floor_tps(done))
            footprint = None if failed else self._footprint()
            if footprint and (over := self._bounds.over_budget(footprint)):
                return FillFailure(at_tokens=tokens, failure=over)
            if answers:
                step = ContextStep(
                    tokens=tokens, answers=tuple(answers), footprint=footprint
                )
                done.append(step)
                cached = answers[0].cache_n > 0
                on_step(step)
            if footprint is None:
                ended = FailedRequest(
                    stage=Stage.GENERATION, reason="the server ended after its answer"
                )
                return self._failure(tokens, failed or ended, begin)
            slow = slow + 1 if done[-1].generation_tps < self._floor_tps(done) else 0
            if slow == _SLOW_STEPS:
                return StopReason.SPEED
        return StopReason.SPEED if slow else StopReason.TOP

    def _answers(
        self, tokens: int, floor_tps: float
    ) -> tuple[list[CompletionTimings], FailedRequest | None]:
        """Request one answer, or several where a single one would decide too much."""
        answers: list[CompletionTimings] = []
        wanted = _DECISIVE_ANSWERS if tokens == SMALLEST_TOKENS else 1
        while len(answers) < wanted:
            answer = self._answer(tokens)
            if isinstance(answer, FailedRequest):
                return answers, answer
            answers.append(answer)
            if answer.generation_tps < floor_tps:
                wanted = _DECISIVE_ANSWERS
        return answers, None

    def _answer(self, tokens: int) -> CompletionTimings | FailedRequest:
        try:
            prompt = self.text.tokens(tokens - GENERATED_TOKENS)
        except (NoAnswerError, WrongAnswerError) as error:
            return FailedRequest(stage=Stage.PREFILL, reason=str(error))
        return generate(
            self._serving.site,
            prompt,
            end_tokens=self._end_tokens,
            timeout_s=self._bounds.answer_timeout_s,
        )

    def _footprint(self) -> Footprint | None:
        try:
            return footprint(self._serving, self._sampler.since_last_take())
        except ServeError:
            return None

    def _floor_tps(self, done: Sequence[ContextStep]) -> float:
        return self._bounds.min_speed_ratio * done[0].generation_tps if done else 0.0

    def _is_too_late(self, tokens: int, last: ContextStep, *, cached: bool) -> bool:
        """Estimate by the last step's pace; without a cache the prompt starts over."""
        added = tokens - last.tokens if cached else tokens
        prefill_s = _MAX_SLOWDOWN * added / (last.answers[0].prefill_tps or 1.0)
        generation_s = GENERATED_TOKENS / last.generation_tps
        return time.monotonic() + prefill_s + generation_s > self._bounds.deadline

    def _failure(
        self, tokens: int, request: FailedRequest, begin: float
    ) -> FillFailure:
        failure = request_failure(
            self._serving,
            request,
            log_begin=self._log_begin,
            after_s=time.monotonic() - begin,
        )
        return FillFailure(at_tokens=tokens, failure=failure)
