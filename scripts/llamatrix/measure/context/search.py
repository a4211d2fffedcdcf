"""Searches the largest context: few starts, from the predicted largest one down."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from llamatrix.engines.outcome import Crashed, OutOfMemory, Stage, TimedOut
from llamatrix.engines.protocol import Endpoint, Launch, StartupError, Timeouts
from llamatrix.engines.registry import ENGINE
from llamatrix.errors import ServeError
from llamatrix.measure.context.fill import (
    ContextFiller,
    FillBounds,
    FillFailure,
    loading_failure,
    request_failure,
)
from llamatrix.measure.context.generation import (
    SMALLEST_TOKENS,
    FailedRequest,
    context_steps,
)
from llamatrix.measure.context.recall import RecallResult, recall
from llamatrix.measure.context.result import (
    Attempt,
    Ceiling,
    ContextStep,
    Failure,
    OverBudget,
    SearchResult,
    Spilled,
    StopReason,
    Unanswered,
    footprint,
)
from llamatrix.measure.telemetry import sampling
from llamatrix.provision.weights.fit import (
    MemorySettings,
    MemoryShape,
    largest_context,
    memory_need,
)

MAX_STARTS = 4
_RESERVES = (0.0, 0.02, 0.06, 0.15)
"""Shares of the budget kept free at each start: the prediction may be too low."""
_RECALL_DIVISORS = (1, 2, 4)
"""Recall is tested at the largest context, or else at a half and a quarter of it."""
_MIN_TOKENS = 2 * SMALLEST_TOKENS
_PAD = 256


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchSettings:
    launch: Launch
    shape: MemoryShape
    use: MemorySettings
    ceiling: Ceiling
    bounds: FillBounds
    on_card: bool
    recall_skipped: str
    """Why recall is not tested; empty to test it."""
    log: Path
    """Each start writes its own log beside this path."""
    timeouts: Timeouts | None = None


class Search:
    """A search whose results so far can be read at any time, also once interrupted."""

    def __init__(self, settings: SearchSettings, *, say: Callable[[str], None]) -> None:
        self.attempts: list[Attempt] = []
        self.steps: list[ContextStep] = []
        self.recalled: list[RecallResult] = []
        self.argv: tuple[str, ...] = ()
        """Of the last server that became ready."""
        self._settings = settings
        self.say = say

    def result(self, stop: StopReason) -> SearchResult:
        skipped = self._settings.recall_skipped or f"the search stopped early: {stop}"
        return SearchResult(
            ceiling=self._settings.ceiling,
            attempts=tuple(self.attempts),
            steps=tuple(self.steps),
            stop=stop,
            recalled=tuple(self.recalled),
            not_recalled="" if self.recalled else skipped,
        )

    def run(self) -> StopReason:
        """Start servers and fill their contexts; start lower only for lack of memory."""
        tokens = self._settings.ceiling.tokens
        for number in range(1, MAX_STARTS + 1):
            stop = self._start(tokens, number)
            if stop is not None:
                return stop
            tokens = self._lower(tokens, number)
            if tokens <= self._reached_tokens or tokens < _MIN_TOKENS:
                break
        return StopReason.MEMORY

    @property
    def _reached_tokens(self) -> int:
        return self.steps[-1].tokens if self.steps else 0

    def _lower(self, tokens: int, number: int) -> int:
        """Return a smaller context, by prediction with some memory kept free."""
        reserve = _RESERVES[min(number, len(_RESERVES) - 1)]
        budget = int(self._settings.ceiling.budget_bytes * (1 - reserve))
        shape, use = self._settings.shape, self._settings.use
        fits = largest_context(shape, use, card_bytes=budget) or 0
        return fits if _MIN_TOKENS <= fits < tokens else tokens // 2 // _PAD * _PAD

    def _start(self, tokens: int, number: int) -> StopReason | None:
        """Start a server and fill its context; None to try a smaller context."""
        settings = self._settings
        self.say(f"start {number} of at most {MAX_STARTS}: {tokens} tokens")
        log = settings.log.with_name(f"{settings.log.stem}-{number}.log")
        need = memory_need(settings.shape, settings.use, context_tokens=tokens)
        attempt = Attempt(context_tokens=tokens, predicted_bytes=need.total)
        self.attempts.append(attempt)
        model = msgspec.structs.replace(settings.launch.model, ctx_size=tokens)
        launch = replace(settings.launch, model=model)
        begin = time.monotonic()
        with (
            sampling(cards=settings.on_card) as sampler,
            ExitStack() as resources,
        ):
            try:
                serving = resources.enter_context(
                    ENGINE.serve(launch, log=log, timeouts=settings.timeouts)
                )
            except StartupError as error:
                after_s = time.monotonic() - begin
                failure = loading_failure(error, launch.weights, log, after_s)
                return self._fail(FillFailure(at_tokens=0, failure=failure))
            ready_s = time.monotonic() - begin
            try:
                loaded = footprint(serving, sampler.since_last_take())
            except ServeError as error:
                ended = FailedRequest(stage=Stage.LOADING, reason=str(error))
                failure = request_failure(serving, ended, log_begin=0, after_s=ready_s)
                return self._fail(FillFailure(at_tokens=0, failure=failure))
            self.argv = serving.argv
            self.attempts[-1] = msgspec.structs.replace(
                attempt,
                ready_s=ready_s,
                loaded=loaded,
                warnings=serving.split_graph() if settings.on_card else (),
            )
            misfit: Failure | None = settings.bounds.over_budget(loaded)
            host_bytes = settings.shape.embedding_bytes
            if settings.on_card and (signs := serving.off_card(host_bytes=host_bytes)):
                misfit = Spilled(signs=signs)
            if misfit:
                return self._fail(FillFailure(at_tokens=0, failure=misfit))
            filler = ContextFiller(serving, sampler, settings.bounds)
            sizes = [
                size for size in context_steps(tokens) if size > self._reached_tokens
            ]
            end = filler.fill(sizes, known=self.steps, on_step=self._add_step)
            if isinstance(end, FillFailure):
                return self._fail(end)
            full = end in (StopReason.TOP, StopReason.SPEED)
            if (
                full
                and not settings.recall_skipped
                and not self._recall(filler, serving)
            ):
                return StopReason.TIME
            return end

    def _add_step(self, step: ContextStep) -> None:
        self.steps.append(step)
        first = self.steps[0]
        self.say(
            f"{step.tokens} tokens: {step.generation_tps:.1f} tokens/s, "
            f"{100 * step.generation_tps / first.generation_tps:.0f} % of the speed at "
            f"{first.tokens}"
        )

    def _recall(self, filler: ContextFiller, serving: Endpoint) -> bool:
        """Test recall from the largest fast context down, until one passes.

        Return whether every question was answered.
        """
        bounds = self._settings.bounds
        floor_tps = bounds.min_speed_ratio * self.steps[0].generation_tps
        fast = [step.tokens for step in self.steps if step.generation_tps >= floor_tps]
        sizes = {
            max((tokens for tokens in fast if tokens <= fast[-1] // divisor), default=0)
            for divisor in _RECALL_DIVISORS
        }
        for tokens in sorted(sizes - {0}, reverse=True):
            self.say(f"{tokens} tokens: asking for the planted facts")
            result = recall(
                serving.site,
                filler.text,
                context_tokens=tokens,
                timeout_s=bounds.answer_timeout_s,
            )
            self.recalled.append(result)
            if result.prompt_tokens is None:
                return False
            if result.all_exact:
                break
        return True

    def _fail(self, failed: FillFailure) -> StopReason | None:
        """Record the failure; None where memory was short and a smaller context helps."""
        self.attempts[-1] = msgspec.structs.replace(
            self.attempts[-1],
            failure=failed.failure,
            failed_at_tokens=failed.at_tokens or None,
        )
        reason, stop = _explain(failed.failure)
        self.say(f"failed: {reason}")
        return stop


def _explain(failure: Failure) -> tuple[str, StopReason | None]:
    match failure:
        case OutOfMemory(stage=stage):
            return f"out of memory ({stage or Stage.LOADING})", None
        case Spilled(signs=signs):
            return f"spilled from the card: {'; '.join(signs)}", None
        case OverBudget(held_bytes=held_bytes):
            return f"it holds {held_bytes} bytes, more than allowed", None
        case Crashed(exit_code=exit_code):
            return f"the server ended with exit code {exit_code}", StopReason.DEATH
        case Unanswered(said=message):
            reason = f"the server kept running, but did not answer: {message}"
            return reason, StopReason.DEATH
        case TimedOut(after_s=after_s):
            return f"no answer within {after_s:.0f} s", StopReason.TIME
