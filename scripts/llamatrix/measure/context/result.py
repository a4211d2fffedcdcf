"""What a search for the largest context finds, as it is kept."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import msgspec
from msgspec import Struct, field

from llamatrix.engines.llama_cpp.server import Serving
from llamatrix.engines.outcome import Crashed, OutOfMemory, TimedOut
from llamatrix.measure.context.generation import CompletionTimings
from llamatrix.measure.context.recall import RecallResult
from llamatrix.measure.disturbances import disturbances
from llamatrix.measure.telemetry import GpuSample, Telemetry


class Footprint(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Bytes; of all cards together. None where nobody tells."""

    rss_bytes: int
    """On the host, weights mapped from their file included."""
    peak_rss_bytes: int
    """The most since the server was started."""
    host_own_bytes: int
    """On the host, without what a file backs."""
    card_own_bytes: int | None = None
    """On the cards, by the server; None also in containers that hide processes."""
    card_own_peak_bytes: int | None = None
    """The most since the footprint before."""
    card_bytes: int | None = None
    """On the cards, by all, beyond what was held before the server was started."""
    card_peak_bytes: int | None = None
    disturbances: tuple[str, ...] = ()
    """What others did meanwhile; empty for nothing, or nothing seen."""

    @property
    def held_bytes(self) -> int:
        """What the server takes of the memory that decides: the cards', else RAM."""
        card = self.card_own_peak_bytes or self.card_peak_bytes
        return card if card is not None else self.peak_rss_bytes


def footprint(serving: Serving, telemetry: Telemetry) -> Footprint:
    """What is held now, and the most that the samples since the last one show."""
    memory = serving.memory()
    before = {one.index: one.used_bytes or 0 for one in telemetry.gpu_before}

    def beyond(sample: GpuSample) -> int | None:
        used = sample.used_bytes
        return None if used is None else max(used - before.get(sample.index, 0), 0)

    own = _by_card(telemetry.gpu, lambda sample: sample.own_bytes)
    all_ = _by_card(telemetry.gpu, beyond)
    return Footprint(
        rss_bytes=memory.rss_bytes,
        peak_rss_bytes=memory.peak_rss_bytes,
        host_own_bytes=memory.own_bytes,
        card_own_bytes=_sum(own, lambda told: told[-1]),
        card_own_peak_bytes=_sum(own, max),
        card_bytes=_sum(all_, lambda told: told[-1]),
        card_peak_bytes=_sum(all_, max),
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


def _sum(cards: list[list[int]], pick: Callable[[list[int]], int]) -> int | None:
    return sum(pick(told) for told in cards) if cards else None


class CeilingReason(StrEnum):
    """What bounds the largest context that is tried."""

    MEMORY = "memory"
    """As predicted from the model's shape."""
    TRAINING = "training"
    ASKED = "asked"


class Ceiling(Struct, frozen=True, kw_only=True):
    tokens: int
    by: CeilingReason
    budget_bytes: int
    """What is free of the memory that decides, or was allowed."""
    others_bytes: int = 0
    """What others held of it before the first start."""


class Spilled(Struct, frozen=True, kw_only=True, tag="spilled"):
    """It was loaded, but not all of it lies on the card."""

    signs: tuple[str, ...]


class OverBudget(Struct, frozen=True, kw_only=True, tag="over-budget"):
    """It was loaded, and holds more than it was allowed to."""

    held_bytes: int


class Unanswered(Struct, frozen=True, kw_only=True, tag="unanswered"):
    """The server went on, but its answer broke off or was none."""

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
    """What the log says that makes its speeds doubtful: a graph that is split."""
    failure: Failure | None = None
    """What ended it before we did."""
    failed_at_tokens: int | None = None
    """The step that was being filled; None for a failure before the first."""


class ContextStep(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One filled context."""

    tokens: int
    """Prompt and what is generated after it."""
    answers: tuple[CompletionTimings, ...]
    """In order; the first has filled the cache."""
    footprint: Footprint | None = None
    """After the last answer; None where the server was gone by then."""

    @property
    def generation_tps(self) -> float:
        """The median: on a busy machine single answers are slow."""
        return statistics.median(one.generation_tps for one in self.answers)

    @property
    def prefill_tps(self) -> float | None:
        """Of what this step has added to the prompt."""
        return self.answers[0].prefill_tps


class StopReason(StrEnum):
    """Why no larger context was looked at."""

    TOP = "top"
    """The largest that the server was started with is reached."""
    SPEED = "speed"
    MEMORY = "memory"
    """No start is left, or none would reach further."""
    DEATH = "death"
    """The server ended, for a reason that is not memory."""
    TIME = "time"
    INTERRUPTED = "interrupted"


SETTLED = (StopReason.TOP, StopReason.SPEED, StopReason.MEMORY, StopReason.DEATH)
"""The same question need not be asked again."""


class SearchResult(Struct, frozen=True, kw_only=True, omit_defaults=True):
    ceiling: Ceiling
    attempts: tuple[Attempt, ...]
    """In order: each smaller than the one before."""
    steps: tuple[ContextStep, ...] = field(name="rungs")
    """In rising order, of all attempts together."""
    stop: StopReason
    recalled: tuple[RecallResult, ...] = ()
    """In order: from the largest context down."""
    not_recalled: str = ""
    """Why nothing was asked; empty where it was."""


class Limit(StrEnum):
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
    step: ContextStep | None
    """The largest that fits, keeps the speed and is remembered; None for none."""
    limit: Limit
    """What forbids a larger one, or kept us from looking."""
    beyond_tokens: int | None
    """The smallest context that was tried and is too large; None where none was."""


_BY = {
    CeilingReason.MEMORY: Limit.MEMORY,
    CeilingReason.TRAINING: Limit.TRAINING,
    CeilingReason.ASKED: Limit.ASKED,
}
_STOPS = {
    StopReason.SPEED: Limit.SPEED,
    StopReason.MEMORY: Limit.MEMORY,
    StopReason.DEATH: Limit.DEATH,
    StopReason.TIME: Limit.TIME,
    StopReason.INTERRUPTED: Limit.INTERRUPTED,
}


def usable_context(found: SearchResult, *, keep_speed: float) -> UsableContext:
    """A question that got no answer says nothing of what is remembered."""
    fast = fast_steps(found, keep_speed=keep_speed)
    answered = [one for one in found.recalled if one.prompt_tokens is not None]
    forgotten = {one.context_tokens for one in answered if not one.all_exact}
    if not forgotten:
        return UsableContext(
            step=fast[-1] if fast else None,
            limit=_limit(found),
            beyond_tokens=_beyond(found, fast),
        )
    if len(answered) < len(found.recalled):  # what lies below is not known
        kept = [step for step in fast if step.tokens < min(forgotten)]
    else:
        known = {one.context_tokens for one in answered if one.all_exact}
        kept = [step for step in fast if step.tokens in known]
    return UsableContext(
        step=kept[-1] if kept else None,
        limit=Limit.RECALL,
        beyond_tokens=min(forgotten),
    )


def fast_steps(found: SearchResult, *, keep_speed: float) -> tuple[ContextStep, ...]:
    """A slow one below a fast one was slowed by the machine, not by its context."""
    return tuple(
        step
        for step in found.steps
        if step.generation_tps >= keep_speed * found.steps[0].generation_tps
    )


def _limit(found: SearchResult) -> Limit:
    if found.stop is not StopReason.TOP:
        return _STOPS[found.stop]
    if len(found.attempts) > 1:
        return Limit.MEMORY
    return _BY[found.ceiling.by]


def _beyond(found: SearchResult, fast: tuple[ContextStep, ...]) -> int | None:
    slow = [step.tokens for step in found.steps if step not in fast]
    failed = [
        one.failed_at_tokens or one.context_tokens
        for one in found.attempts
        if one.failure
    ]
    reached = fast[-1].tokens if fast else 0
    return min((one for one in slow + failed if one > reached), default=None)
