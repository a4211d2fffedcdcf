"""The quantity, unit and rounding of a published number."""

import math
from dataclasses import dataclass
from enum import StrEnum


class Quantity(StrEnum):
    PREFILL_RATE = "prefill-rate"
    GENERATION_RATE = "generation-rate"
    PROMPT_TOKENS = "prompt-tokens"
    GENERATED_TOKENS = "generated-tokens"
    REASONING_TOKENS = "reasoning-tokens"
    PROMPT_TIME = "prompt-time"
    GENERATION_TIME = "generation-time"
    FIRST_TOKEN_TIME = "first-token-time"  # noqa: S105  (a duration, no secret)
    API_CALLS = "api-calls"
    TOOL_CALLS = "tool-calls"
    CORRECT_TURN = "correct-turn"
    TASKS_SOLVED = "tasks-solved"
    TASKS_TOTAL = "tasks-total"
    VRAM = "vram"
    MAX_CONTEXT = "max-context"
    MODEL_SIZE = "model-size"
    TOTAL_PARAMS = "total-params"
    ACTIVE_PARAMS = "active-params"


class Unit(StrEnum):
    TOKENS_PER_SECOND = "tokens/s"
    SECONDS = "s"
    MILLISECONDS = "ms"
    MB = "MB"
    GB = "GB"
    MIB = "MiB"
    GIB = "GiB"
    TOKENS = "tokens"
    CALLS = "calls"
    TURNS = "turns"
    TASKS = "tasks"
    BILLIONS = "billions"
    """Of parameters."""


class Rounding(StrEnum):
    """How far a printed figure can be from the true one."""

    NEAREST = "nearest"
    """Half a step to either side."""
    CUT = "cut"
    """Up to one step above: `130K` for 130,672."""
    ABOUT = "about"
    """Printed with a tilde: one step to either side."""


_RATES = frozenset({Unit.TOKENS_PER_SECOND})
_TIMES = frozenset({Unit.SECONDS, Unit.MILLISECONDS})
_SIZES = frozenset({Unit.MB, Unit.GB, Unit.MIB, Unit.GIB})
_TOKENS = frozenset({Unit.TOKENS})
_CALLS = frozenset({Unit.CALLS})
_TASKS = frozenset({Unit.TASKS})
_PARAMS = frozenset({Unit.BILLIONS})

UNITS: dict[Quantity, frozenset[Unit]] = {
    Quantity.PREFILL_RATE: _RATES,
    Quantity.GENERATION_RATE: _RATES,
    Quantity.PROMPT_TOKENS: _TOKENS,
    Quantity.GENERATED_TOKENS: _TOKENS,
    Quantity.REASONING_TOKENS: _TOKENS,
    Quantity.PROMPT_TIME: _TIMES,
    Quantity.GENERATION_TIME: _TIMES,
    Quantity.FIRST_TOKEN_TIME: _TIMES,
    Quantity.API_CALLS: _CALLS,
    Quantity.TOOL_CALLS: _CALLS,
    Quantity.CORRECT_TURN: frozenset({Unit.TURNS}),
    Quantity.TASKS_SOLVED: _TASKS,
    Quantity.TASKS_TOTAL: _TASKS,
    Quantity.VRAM: _SIZES,
    Quantity.MAX_CONTEXT: _TOKENS,
    Quantity.MODEL_SIZE: _SIZES,
    Quantity.TOTAL_PARAMS: _PARAMS,
    Quantity.ACTIVE_PARAMS: _PARAMS,
}
"""The units in which each quantity may be printed."""

COUNTS = _TOKENS | _CALLS | _TASKS | UNITS[Quantity.CORRECT_TURN]
"""Units of whole numbers: printed in steps of one, they are exact."""

RATES = (Quantity.PREFILL_RATE, Quantity.GENERATION_RATE)

_FACTORS: dict[Unit, tuple[float, float]] = {
    Unit.MILLISECONDS: (1e-3, 1e-3),
    Unit.MB: (1e6, 2**20),
    Unit.GB: (1e9, 2**30),
    Unit.MIB: (2**20, 2**20),
    Unit.GIB: (2**30, 2**30),
    Unit.BILLIONS: (1e9, 1e9),
}
"""Low and high factor into base units; MB and GB are used for both meanings."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    low: float
    high: float

    def meets(self, other: "Interval") -> bool:
        """Return whether some value is in both, with slack for binary fractions."""
        slack = 1e-9 * max(abs(self.high), abs(other.high))
        return self.low <= other.high + slack and other.low <= self.high + slack

    def times(self, low: float, high: float) -> "Interval":
        return Interval(low=self.low * low, high=self.high * high)

    def over(self, divisor: "Interval") -> "Interval":
        """Return the interval of all quotients; both intervals must be positive."""
        high = self.high / divisor.low if divisor.low > 0 else math.inf
        return Interval(low=self.low / divisor.high, high=high)


def printed_interval(value: float, *, step: float, rounding: Rounding) -> Interval:
    """Return the interval of the true value in the printed unit, never below zero."""
    down, up = {
        Rounding.NEAREST: (step / 2, step / 2),
        Rounding.CUT: (0.0, step),
        Rounding.ABOUT: (step, step),
    }[rounding]
    return Interval(low=max(0.0, value - down), high=value + up)


def base_interval(printed: Interval, unit: Unit) -> Interval:
    """Return the interval in tokens/s, seconds, bytes, parameters or counts."""
    return printed.times(*_FACTORS.get(unit, (1.0, 1.0)))


def decimals(step: float) -> int:
    """Return the digits after the point for a step: 2 for 0.01, 0 for 1000."""
    return max(0, -math.floor(math.log10(step) + 1e-9))
