"""What a search for the largest context finds, as it is kept."""

import statistics
from enum import StrEnum

from msgspec import Struct

from llamatrix.engines.outcome import Crashed, OutOfMemory, TimedOut
from llamatrix.measure.context.footprint import Footprint
from llamatrix.measure.context.generation import Timings
from llamatrix.measure.context.recall import Recalled


class By(StrEnum):
    """What bounds the largest context that is tried."""

    MEMORY = "memory"
    """As predicted from the model's shape."""
    TRAINING = "training"
    ASKED = "asked"


class Ceiling(Struct, frozen=True, kw_only=True):
    tokens: int
    by: By
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
    """The rung that was being filled; None for a failure before the first."""


class Rung(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One filled context."""

    tokens: int
    """Prompt and what is generated after it."""
    answers: tuple[Timings, ...]
    """In order; the first has filled the cache."""
    footprint: Footprint | None = None
    """After the last answer; None where the server was gone by then."""

    @property
    def generation_tps(self) -> float:
        """The median: on a busy machine single answers are slow."""
        return statistics.median(one.generation_tps for one in self.answers)

    @property
    def prefill_tps(self) -> float | None:
        """Of what this rung has added to the prompt."""
        return self.answers[0].prefill_tps


class Stop(StrEnum):
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


SETTLED = (Stop.TOP, Stop.SPEED, Stop.MEMORY, Stop.DEATH)
"""The same question need not be asked again."""


class Found(Struct, frozen=True, kw_only=True, omit_defaults=True):
    ceiling: Ceiling
    attempts: tuple[Attempt, ...]
    """In order: each smaller than the one before."""
    rungs: tuple[Rung, ...]
    """In rising order, of all attempts together."""
    stop: Stop
    recalled: tuple[Recalled, ...] = ()
    """In order: from the largest context down."""
    not_recalled: str = ""
    """Why nothing was asked; empty where it was."""
