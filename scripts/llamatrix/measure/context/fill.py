"""One running server, its context filled further and further."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from llamatrix.engines.llama_cpp.output import diagnose, end_tokens
from llamatrix.engines.llama_cpp.server import Serving, read_log
from llamatrix.engines.outcome import Crashed, OutOfMemory, Stage, TimedOut
from llamatrix.engines.protocol import StartupError, StartupFailure
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
from llamatrix.shell import TAIL_LINES
from llamatrix.web import NoAnswerError, WrongAnswerError

_LAST_WORDS_S = 3.0
"""How long a server may take to end after its connection broke."""
_LOOK_EVERY_S = 0.05
_UNKNOWN = 1
"""Stands for the exit code of a server that we ended."""


def loading_failure(
    error: StartupError, weights: Path, log: Path, after_s: float
) -> Failure:
    """As an outcome; the error again where it is about the harness, not the size."""
    tail = tail_of(read_log(log), log, weights)
    match error.failure:
        case StartupFailure.MEMORY:
            tail = (*tail_of(error.log_line, log, weights), *tail)
            return OutOfMemory(exit_code=_UNKNOWN, tail=tail, stage=Stage.LOADING)
        case StartupFailure.SLOW:
            return TimedOut(after_s=after_s, tail=tail)
        case StartupFailure.UNKNOWN:
            return Crashed(exit_code=_UNKNOWN, tail=tail)
        case (
            StartupFailure.PORT_TAKEN | StartupFailure.WEIGHTS | StartupFailure.TEMPLATE
        ):
            raise error


def request_failure(
    serving: Serving, broken: FailedRequest, *, log_begin: int, after_s: float
) -> Failure:
    """What became of a server that was ready; `log_begin` is where its log stood then."""
    code = _ended(serving)
    said = read_log(serving.log)[log_begin:]
    tail = tail_of(said, serving.log, serving.launch.weights)
    if code is None:
        if broken.timed_out:
            return TimedOut(after_s=after_s, tail=(broken.said, *tail))
        return Unanswered(said=broken.said, tail=tail)
    failure, log_line = diagnose(said, code)
    if failure is StartupFailure.MEMORY:
        shown = (*tail_of(log_line, serving.log, serving.launch.weights), *tail)
        return OutOfMemory(exit_code=code, tail=shown, stage=broken.stage)
    return Crashed(exit_code=code, tail=tail)


def tail_of(said: str, *files: Path) -> tuple[str, ...]:
    """The last lines, without the folders of this machine."""
    for file in files:
        said = said.replace(f"{file.parent}/", "")
    return tuple(said.splitlines()[-TAIL_LINES:])


def _ended(serving: Serving) -> int | None:
    deadline = time.monotonic() + _LAST_WORDS_S
    while serving.poll() is None and time.monotonic() < deadline:
        time.sleep(_LOOK_EVERY_S)
    return serving.poll()


_DECISIVE = 3
"""Answers where one alone would decide: at the smallest, and below the floor."""
_SLOW_STEPS = 2
"""In a row: one alone may have been slowed by the machine."""
_SLOWER = 1.3
"""Prefill slows down as the context fills: the next step's, at most."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FillBounds:
    keep_speed: float
    """Of the speed at the smallest context."""
    deadline: float
    """On the monotonic clock: no step is begun that would end after it."""

    most_bytes: int | None = None
    """What the server may hold by measurement; None leaves that to the machine."""
    grace_s: float = 60.0
    """What an answer gets beyond the time that is left."""

    @property
    def answer_timeout_s(self) -> float:
        return max(self.deadline - time.monotonic(), 0.0) + self.grace_s

    def over_budget(self, held: Footprint) -> OverBudget | None:
        if self.most_bytes is None or held.held_bytes <= self.most_bytes:
            return None
        return OverBudget(held_bytes=held.held_bytes)


@dataclass(frozen=True, kw_only=True, slots=True)
class FillFailure:
    """The server, or its answer, was lost at a step."""

    at_tokens: int
    failure: Failure


class ContextFiller:
    def __init__(self, serving: Serving, sampler: Sampler, bounds: FillBounds) -> None:
        self.filler = FillerText(serving.site)
        self._serving = serving
        self._sampler = sampler
        self._bounds = bounds
        log = read_log(serving.log)
        self._ends = end_tokens(log)
        self._log_begin = len(log)

    def fill(
        self,
        steps: Sequence[int],
        *,
        known: Sequence[ContextStep],
        on_step: Callable[[ContextStep], None],
    ) -> StopReason | FillFailure:
        """Fill step after step, each handed over the moment it is known.

        `known` are those of servers before this one.
        """
        done = list(known)
        cached = False  # by this server
        begin = time.monotonic()
        warm = self._answer(SMALLEST_TOKENS // 2)
        if isinstance(warm, FailedRequest):
            return self._failed(steps[0], warm, begin)
        slow = 0
        for tokens in steps:
            if done and self._is_too_late(tokens, done[-1], cached=cached):
                return StopReason.TIME
            begin = time.monotonic()
            floor_tps = self._floor(done)
            answers, broken = self._answers(tokens, floor_tps)
            held = None if broken else self._footprint()
            if held and (over := self._bounds.over_budget(held)):
                return FillFailure(at_tokens=tokens, failure=over)
            if answers:
                step = ContextStep(
                    tokens=tokens, answers=tuple(answers), footprint=held
                )
                done.append(step)
                cached = answers[0].cache_n > 0
                on_step(step)
            if held is None:
                gone = FailedRequest(
                    stage=Stage.GENERATION, said="it ended after its answer"
                )
                return self._failed(tokens, broken or gone, begin)
            slow = slow + 1 if done[-1].generation_tps < self._floor(done) else 0
            if slow == _SLOW_STEPS:
                return StopReason.SPEED
        return StopReason.SPEED if slow else StopReason.TOP

    def _answers(
        self, tokens: int, floor_tps: float
    ) -> tuple[list[CompletionTimings], FailedRequest | None]:
        """One answer, or several where one would decide too much."""
        answers: list[CompletionTimings] = []
        wanted = _DECISIVE if tokens == SMALLEST_TOKENS else 1
        while len(answers) < wanted:
            answer = self._answer(tokens)
            if isinstance(answer, FailedRequest):
                return answers, answer
            answers.append(answer)
            if answer.generation_tps < floor_tps:
                wanted = _DECISIVE
        return answers, None

    def _answer(self, tokens: int) -> CompletionTimings | FailedRequest:
        try:
            prompt = self.filler.tokens(tokens - GENERATED_TOKENS)
        except (NoAnswerError, WrongAnswerError) as error:
            return FailedRequest(stage=Stage.PREFILL, said=str(error))
        return generate(
            self._serving.site,
            prompt,
            ends=self._ends,
            timeout_s=self._bounds.answer_timeout_s,
        )

    def _footprint(self) -> Footprint | None:
        try:
            return footprint(self._serving, self._sampler.since_last_take())
        except ServeError:
            return None

    def _floor(self, done: Sequence[ContextStep]) -> float:
        return self._bounds.keep_speed * done[0].generation_tps if done else 0.0

    def _is_too_late(self, tokens: int, last: ContextStep, *, cached: bool) -> bool:
        """By the last step's pace; without a cache all of it is processed anew."""
        added = tokens - last.tokens if cached else tokens
        prefill_s = _SLOWER * added / (last.answers[0].prefill_tps or 1.0)
        generation_s = GENERATED_TOKENS / last.generation_tps
        return time.monotonic() + prefill_s + generation_s > self._bounds.deadline

    def _failed(self, tokens: int, broken: FailedRequest, begin: float) -> FillFailure:
        failure = request_failure(
            self._serving,
            broken,
            log_begin=self._log_begin,
            after_s=time.monotonic() - begin,
        )
        return FillFailure(at_tokens=tokens, failure=failure)
