"""What can come of a measurement. Everything here is data; nothing is raised."""

from enum import StrEnum

from msgspec import Raw, Struct


class SpeedResult(Struct, frozen=True, kw_only=True, tag="speed"):
    """One test of llama-bench."""

    row: Raw
    """llama-bench's own JSON line, to the letter; `llama_bench.parse_row` reads it."""


class Done(Struct, frozen=True, kw_only=True, tag="done"):
    result: SpeedResult


class TimedOut(Struct, frozen=True, kw_only=True, tag="timed-out"):
    """Ended by us when its time was over."""

    after_s: float
    tail: tuple[str, ...]


class Crashed(Struct, frozen=True, kw_only=True, tag="crashed"):
    """Ended by itself, badly, for a reason its last lines may tell."""

    exit_code: int
    """As the kernel tells it: negative for a signal."""
    tail: tuple[str, ...]


class Stage(StrEnum):
    """How far a program had come when it failed."""

    LOADING = "loading"
    """Weights, cache and buffers: nothing was computed yet."""
    PREFILL = "prefill"
    GENERATION = "generation"


class OutOfMemory(Struct, frozen=True, kw_only=True, tag="out-of-memory"):
    """The program said that memory was refused to it."""

    exit_code: int
    tail: tuple[str, ...]
    stage: Stage | None = None
    """None in records from before it was looked at."""


class ContextTooLarge(Struct, frozen=True, kw_only=True, tag="context-too-large"):
    """No context of this size could be made; llama.cpp did not say it was memory."""

    exit_code: int
    tail: tuple[str, ...]


Outcome = Done | TimedOut | Crashed | OutOfMemory | ContextTooLarge
