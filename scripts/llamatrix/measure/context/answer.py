"""What a search says in the end: one context, and what bounds it."""

from dataclasses import dataclass
from enum import StrEnum

from llamatrix.measure.context.found import By, Found, Rung, Stop


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
class Answer:
    rung: Rung | None
    """The largest that fits, keeps the speed and is remembered; None for none."""
    limit: Limit
    """What forbids a larger one, or kept us from looking."""
    beyond_tokens: int | None
    """The smallest context that was tried and is too large; None where none was."""


_BY = {By.MEMORY: Limit.MEMORY, By.TRAINING: Limit.TRAINING, By.ASKED: Limit.ASKED}
_STOPS = {
    Stop.SPEED: Limit.SPEED,
    Stop.MEMORY: Limit.MEMORY,
    Stop.DEATH: Limit.DEATH,
    Stop.TIME: Limit.TIME,
    Stop.INTERRUPTED: Limit.INTERRUPTED,
}


def answer_of(found: Found, *, keep_speed: float) -> Answer:
    """A question that got no answer says nothing of what is remembered."""
    fast = fast_rungs(found, keep_speed=keep_speed)
    answered = [one for one in found.recalled if one.prompt_tokens is not None]
    forgotten = {one.context_tokens for one in answered if not one.all_exact}
    if not forgotten:
        return Answer(
            rung=fast[-1] if fast else None,
            limit=_limit(found),
            beyond_tokens=_beyond(found, fast),
        )
    if len(answered) < len(found.recalled):  # what lies below is not known
        kept = [rung for rung in fast if rung.tokens < min(forgotten)]
    else:
        known = {one.context_tokens for one in answered if one.all_exact}
        kept = [rung for rung in fast if rung.tokens in known]
    return Answer(
        rung=kept[-1] if kept else None,
        limit=Limit.RECALL,
        beyond_tokens=min(forgotten),
    )


def fast_rungs(found: Found, *, keep_speed: float) -> tuple[Rung, ...]:
    """A slow one below a fast one was slowed by the machine, not by its context."""
    return tuple(
        rung
        for rung in found.rungs
        if rung.generation_tps >= keep_speed * found.rungs[0].generation_tps
    )


def _limit(found: Found) -> Limit:
    if found.stop is not Stop.TOP:
        return _STOPS[found.stop]
    if len(found.attempts) > 1:
        return Limit.MEMORY
    return _BY[found.ceiling.by]


def _beyond(found: Found, fast: tuple[Rung, ...]) -> int | None:
    slow = [rung.tokens for rung in found.rungs if rung not in fast]
    failed = [
        one.failed_at_tokens or one.context_tokens
        for one in found.attempts
        if one.failure
    ]
    reached = fast[-1].tokens if fast else 0
    return min((one for one in slow + failed if one > reached), default=None)
