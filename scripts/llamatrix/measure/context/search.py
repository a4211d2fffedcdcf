"""The search itself: few starts, from the predicted largest context down."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from llamatrix.engines.llama_cpp.launch import Launch
from llamatrix.engines.llama_cpp.server import Serving, Timeouts, read_log, running
from llamatrix.engines.outcome import Crashed, OutOfMemory, Stage, TimedOut
from llamatrix.engines.protocol import StartupError
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
    Footprint,
    OverBudget,
    SearchResult,
    Spilled,
    StopReason,
    Unanswered,
    footprint,
)
from llamatrix.measure.gpu_spill import off_card, split_graph
from llamatrix.measure.telemetry import Sampler, sampling
from llamatrix.provision.weights.fit import (
    MemorySettings,
    MemoryShape,
    largest_context,
    memory_need,
)

MOST_STARTS = 4
_RESERVES = (0.0, 0.02, 0.06, 0.15)
"""Of the budget, kept free at each start: the prediction may be short by some."""
_RECALL_STEPS = (1, 2, 4)
"""What is asked of the largest context, else of a half and a quarter of it."""
_LEAST_TOKENS = 2 * SMALLEST_TOKENS
_PAD = 256


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchSettings:
    launch: Launch
    shape: MemoryShape
    use: MemorySettings
    ceiling: Ceiling
    bounds: FillBounds
    on_card: bool
    why_no_recall: str
    """Empty where facts are to be recalled."""
    log: Path
    """Beside it lies one for each start."""
    timeouts: Timeouts | None = None


class Search:
    """What was found so far can be read at any time, also after an interruption."""

    def __init__(self, question: SearchSettings, *, say: Callable[[str], None]) -> None:
        self.attempts: list[Attempt] = []
        self.steps: list[ContextStep] = []
        self.recalled: list[RecallResult] = []
        self.argv: tuple[str, ...] = ()
        """Of the last server that became ready."""
        self._question = question
        self.say = say

    def found(self, stop: StopReason) -> SearchResult:
        why = self._question.why_no_recall or f"the search stopped before: {stop}"
        return SearchResult(
            ceiling=self._question.ceiling,
            attempts=tuple(self.attempts),
            steps=tuple(self.steps),
            stop=stop,
            recalled=tuple(self.recalled),
            not_recalled="" if self.recalled else why,
        )

    def run(self) -> StopReason:
        """Start, and climb; lower only where memory did not suffice."""
        tokens = self._question.ceiling.tokens
        for number in range(MOST_STARTS):
            stop = self._start(tokens, number + 1)
            if stop is not None:
                return stop
            tokens = self._lower(tokens, number + 1)
            if tokens <= self._reached or tokens < _LEAST_TOKENS:
                break
        return StopReason.MEMORY

    @property
    def _reached(self) -> int:
        return self.steps[-1].tokens if self.steps else 0

    def _lower(self, tokens: int, number: int) -> int:
        """What fits by prediction with some memory kept free; surely less than before."""
        share = _RESERVES[min(number, len(_RESERVES) - 1)]
        budget = int(self._question.ceiling.budget_bytes * (1 - share))
        shape, use = self._question.shape, self._question.use
        fits = largest_context(shape, use, card_bytes=budget) or 0
        return fits if _LEAST_TOKENS <= fits < tokens else tokens // 2 // _PAD * _PAD

    def _start(self, tokens: int, number: int) -> StopReason | None:
        """None where a smaller context is to be tried."""
        question = self._question
        needed = memory_need(question.shape, question.use, context_tokens=tokens).total
        self.say(f"start {number} of at most {MOST_STARTS}: {tokens} tokens")
        log = question.log.with_name(f"{question.log.stem}-{number}.log")
        attempt = Attempt(context_tokens=tokens, predicted_bytes=needed)
        begin = time.monotonic()
        with sampling() as sampler, ExitStack() as held:
            self.attempts.append(attempt)
            launch = _sized(question.launch, tokens)
            try:
                serving = held.enter_context(
                    running(launch, log=log, timeouts=question.timeouts)
                )
            except StartupError as error:
                after_s = time.monotonic() - begin
                failure = loading_failure(error, launch.weights, log, after_s)
                return self._ended(FillFailure(at_tokens=0, failure=failure))
            ready_s = time.monotonic() - begin
            try:
                loaded = footprint(serving, sampler.since_last_take())
            except ServeError as error:
                gone = FailedRequest(stage=Stage.LOADING, said=str(error))
                failure = request_failure(serving, gone, log_begin=0, after_s=ready_s)
                return self._ended(FillFailure(at_tokens=0, failure=failure))
            self.argv = serving.argv
            self.attempts[-1] = msgspec.structs.replace(
                attempt,
                ready_s=ready_s,
                loaded=loaded,
                warnings=split_graph(read_log(log)) if question.on_card else (),
            )
            if misfit := self._misfit(serving, loaded):
                return self._ended(FillFailure(at_tokens=0, failure=misfit))
            return self._fill(serving, sampler, tokens)

    def _misfit(self, serving: Serving, loaded: Footprint) -> Failure | None:
        """Loaded, and yet not as it should be."""
        question = self._question
        if question.on_card:
            host_bytes = question.shape.embedding_bytes
            signs = off_card(read_log(serving.log), host_bytes=host_bytes)
            if signs:
                return Spilled(signs=signs)
        return question.bounds.over_budget(loaded)

    def _fill(
        self, serving: Serving, sampler: Sampler, tokens: int
    ) -> StopReason | None:
        filling = ContextFiller(serving, sampler, self._question.bounds)
        steps = [one for one in context_steps(tokens) if one > self._reached]
        end = filling.fill(steps, known=self.steps, on_step=self._take)
        if isinstance(end, FillFailure):
            return self._ended(end)
        if (
            end in (StopReason.TOP, StopReason.SPEED)
            and not self._question.why_no_recall
        ):
            return end if self._recall(serving, filling) else StopReason.TIME
        return end

    def _take(self, step: ContextStep) -> None:
        self.steps.append(step)
        share = step.generation_tps / self.steps[0].generation_tps
        self.say(
            f"{step.tokens} tokens: {step.generation_tps:.1f} tokens/s, "
            f"{100 * share:.0f} % of that at {self.steps[0].tokens}"
        )

    def _recall(self, serving: Serving, filling: ContextFiller) -> bool:
        """From the largest fast context down, until one is remembered whole.

        Whether every question got an answer.
        """
        bounds = self._question.bounds
        floor = bounds.keep_speed * self.steps[0].generation_tps
        fast = [one.tokens for one in self.steps if one.generation_tps >= floor]
        asked = {
            max((one for one in fast if one <= fast[-1] // step), default=0)
            for step in _RECALL_STEPS
        }
        for tokens in sorted(asked - {0}, reverse=True):
            self.say(f"{tokens} tokens: asking for the planted facts")
            found = recall(
                serving.site,
                filling.filler,
                context_tokens=tokens,
                timeout_s=bounds.answer_timeout_s,
            )
            self.recalled.append(found)
            if found.prompt_tokens is None:
                return False
            if found.all_exact:
                break
        return True

    def _ended(self, failed: FillFailure) -> StopReason | None:
        """Note the failure; a smaller context helps only where memory was short."""
        self.attempts[-1] = msgspec.structs.replace(
            self.attempts[-1],
            failure=failed.failure,
            failed_at_tokens=failed.at_tokens or None,
        )
        self.say(f"failed: {_word(failed.failure)}")
        match failed.failure:
            case OutOfMemory() | Spilled() | OverBudget():
                return None
            case Crashed() | Unanswered():
                return StopReason.DEATH
            case TimedOut():
                return StopReason.TIME


def _word(failure: Failure) -> str:
    match failure:
        case OutOfMemory(stage=stage):
            return f"out of memory ({stage or Stage.LOADING})"
        case Spilled(signs=signs):
            return f"spilled from the card: {'; '.join(signs)}"
        case OverBudget(held_bytes=held_bytes):
            return f"it holds {held_bytes} bytes, more than it may"
        case Crashed(exit_code=exit_code):
            return f"the server ended with exit code {exit_code}"
        case Unanswered(said=said):
            return f"the server went on, but did not answer: {said}"
        case TimedOut(after_s=after_s):
            return f"no answer within {after_s:.0f} s"


def _sized(launch: Launch, tokens: int) -> Launch:
    model = msgspec.structs.replace(launch.model, ctx_size=tokens)
    return replace(launch, model=model)
