"""The result of a search for the largest context, as records keep it."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from msgspec import Struct, field

from llamatrix.engines.outcome import Crashed, OutOfMemory, TimedOut
from llamatrix.engines.protocol import Endpoint
from llamatrix.measure.context.generation import CompletionTimings
from llamatrix.measure.context.recall import RecallResult
from llamatrix.measure.disturbances import disturbances
from llamatrix.measure.telemetry import GpuSample, Telemetry


class Footprint(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Memory of a server; GPU figures are sums over all cards, None where unknown."""

    rss_bytes: int
    """On the host, weights mapped from their file included."""
    peak_rss_bytes: int
    """Since the server started."""
    host_own_bytes: int
    """On the host, without file-backed pages."""
    card_own_bytes: int | None = None
    """Of the server; None also in containers that hide processes."""
    card_own_peak_bytes: int | None = None
    """Since the previous footprint."""
    card_bytes: int | None = None
    """Of all processes, beyond what was in use before the server started."""
    card_peak_bytes: int | None = None
    disturbances: tuple[str, ...] = ()

    @property
    def held_bytes(self) -> int:
        """The peak in the memory that limits the context: the cards', or else RAM."""
        card = self.card_own_peak_bytes or self.card_peak_bytes
        return card if card is not None else self.peak_rss_bytes


def footprint(serving: Endpoint, telemetry: Telemetry) -> Footprint:
    """Return the current memory, and the peaks over the samples since the last call."""
    memory = serving.memory()
    before = {sample.index: sample.used_bytes or 0 for sample in telemetry.gpu_before}

    def added(sample: GpuSample) -> int | None:
        used = sample.used_bytes
        return None if used is None else max(used - before.get(sample.index, 0), 0)

    own = _by_card(telemetry.gpu, lambda sample: sample.own_bytes)
    total = _by_card(telemetry.gpu, added)
    return Footprint(
        rss_bytes=memory.rss_bytes,
        peak_rss_bytes=memory.peak_rss_bytes,
        host_own_bytes=memory.own_bytes,
        card_own_bytes=sum(values[-1] for values in own) if own else None,
        card_own_peak_bytes=sum(map(max, own)) if own else None,
        card_bytes=sum(values[-1] for values in total) if total else None,
        card_peak_bytes=sum(map(max, total)) if total else None,
        disturbances=disturbances(telemetry, None),
    )


def _by_card(
    samples: Sequence[GpuSample], read: Callable[[GpuSample], int | None]
) -> list[list[int]]:
    cards: dict[int, list[int]] = {}
    for sample in samples:
        if (value := read(sample)) is not None:
            cards.setdefault(sample.index, []).append(value)
    return list(cards.values())


class CeilingReason(StrEnum):
    """What limits the largest context that is tried."""

    MEMORY = "memory"
    """As predicted from the model's shape."""
    TRAINING = "training"
    ASKED = "asked"


class Ceiling(Struct, frozen=True, kw_only=True):
    tokens: int
    by: CeilingReason
    budget_bytes: int
    """Free memory of the kind that limits the context, or what the user allows."""
    others_bytes: int = 0
    """Memory of other processes before the first start."""


class Spilled(Struct, frozen=True, kw_only=True, tag="spilled"):
    """The model was loaded, but part of it is not on the card."""

    signs: tuple[str, ...]


class OverBudget(Struct, frozen=True, kw_only=True, tag="over-budget"):
    """The model was loaded, but holds more memory than allowed."""

    held_bytes: int


class Unanswered(Struct, frozen=True, kw_only=True, tag="unanswered"):
    """The server kept running, but its answer broke off or was unreadable."""

    said: str
    tail: tuple[str, ...]


Failure = OutOfMemory | Crashed | TimedOut | Spilled | OverBudget | Unanswered


class Attempt(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One start of the server."""

    context_tokens: int
    predicted_bytes: int
    ready_s: float | None = None
    """None where it did not become ready."""
    loaded: Footprint | None = None
    warnings: tuple[str, ...] = ()
    """Signs in the log that its speeds are doubtful, such as a split graph."""
    failure: Failure | None = None
    failed_at_tokens: int | None = None
    """The step that was being filled; None for a failure before the first."""


class ContextStep(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One size at which the context was filled and measured."""

    tokens: int
    """The prompt and the tokens generated after it."""
    answers: tuple[CompletionTimings, ...]
    """In order; the first one filled the cache."""
    footprint: Footprint | None = None
    """After the last answer; None where the server had ended by then."""

    @property
    def generation_tps(self) -> float:
        """The median: on a busy machine single answers are slow."""
        return statistics.median(answer.generation_tps for answer in self.answers)

    @property
    def prefill_tps(self) -> float | None:
        """Of the tokens that this step added to the prompt."""
        return self.answers[0].prefill_tps


class StopReason(StrEnum):
    """Why no larger context was tried."""

    TOP = "top"
    """The context that the server was started with is full."""
    SPEED = "speed"
    MEMORY = "memory"
    """No start is left, or none would reach further."""
    DEATH = "death"
    """The server ended for a reason other than memory."""
    TIME = "time"
    INTERRUPTED = "interrupted"


SETTLED = (StopReason.TOP, StopReason.SPEED, StopReason.MEMORY, StopReason.DEATH)
"""A search that stopped for these reasons is not repeated."""


class SearchResult(Struct, frozen=True, kw_only=True, omit_defaults=True):
    ceiling: Ceiling
    attempts: tuple[Attempt, ...]
    """In order, each smaller than the one before."""
    steps: tuple[ContextStep, ...] = field(name="rungs")
    """In rising order, of all attempts together."""
    stop: StopReason
    recalled: tuple[RecallResult, ...] = ()
    """In order, from the largest context down."""
    not_recalled: str = ""
    """Why recall was not tested; empty where it was."""


class Limit(StrEnum):
    """What rules out a larger context, or kept the search from trying it."""

    MEMORY = "memory"
    TRAINING = "training"
    ASKED = "asked"
    SPEED = "speed"
    RECALL = "recall"
    DEATH = "death"
    TIME = "time"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, kw_only=True, slots=True)
class UsableContext:
    """The conclusion of a search."""

    step: ContextStep | None
    """The largest that fits, keeps the speed and passes recall; None for none."""
    limit: Limit
    beyond_tokens: int | None
    """The smallest tried context that is too large; None where none was."""


def usable_context(result: SearchResult, *, min_speed_ratio: float) -> UsableContext:
    """Conclude from a search; recall questions without an answer count for nothing."""
    fast = fast_steps(result, min_speed_ratio=min_speed_ratio)
    answered = [
        answer for answer in result.recalled if answer.prompt_tokens is not None
    ]
    forgotten = {answer.context_tokens for answer in answered if not answer.all_exact}
    if not forgotten:
        return UsableContext(
            step=fast[-1] if fast else None,
            limit=_limit(result),
            beyond_tokens=_beyond_tokens(result, fast),
        )
    if len(answered) < len(result.recalled):  # recall below is unknown
        kept = [step for step in fast if step.tokens < min(forgotten)]
    else:
        remembered = {answer.context_tokens for answer in answered if answer.all_exact}
        kept = [step for step in fast if step.tokens in remembered]
    return UsableContext(
        step=kept[-1] if kept else None,
        limit=Limit.RECALL,
        beyond_tokens=min(forgotten),
    )


def fast_steps(
    result: SearchResult, *, min_speed_ratio: float
) -> tuple[ContextStep, ...]:
    """Return the steps that keep the speed of the first.

    A slow step below a fast one was slowed by the machine, not by its context.
    """
    return tuple(
        step
        for step in result.steps
        if step.generation_tps >= min_speed_ratio * result.steps[0].generation_tps
    )


def _limit(result: SearchResult) -> Limit:
    if result.stop is not StopReason.TOP:
        return Limit(result.stop)
    if len(result.attempts) > 1:
        return Limit.MEMORY
    return Limit(result.ceiling.by)


def _beyond_tokens(result: SearchResult, fast: tuple[ContextStep, ...]) -> int | None:
    slow = [step.tokens for step in result.steps if step not in fast]
    failed = [
        attempt.failed_at_tokens or attempt.context_tokens
        for attempt in result.attempts
        if attempt.failure
    ]
    reached = fast[-1].tokens if fast else 0
    return min((tokens for tokens in slow + failed if tokens > reached), default=None)
