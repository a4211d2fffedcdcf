"""The contract of an engine, a program that runs a model.

A member of the family is a folder beside this file. It alone knows what its programs
print and answer: everything outside sees the types of this module and of `outcome.py`.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from llamatrix.errors import ServeError


class Endpoint(Protocol):
    """A model that answers requests."""

    @property
    def url(self) -> str:
        """The address without a path: clients add `/v1`."""

    @property
    def argv(self) -> tuple[str, ...]: ...

    @property
    def template_sha256(self) -> str:
        """Of the chat template in use, without a newline at its end."""

    def memory(self) -> "Memory": ...

    def counters(self) -> "Counters":
        """What was done since the start."""

    def count_tokens(self, text: str, *, timeout_s: float) -> int:
        """Count tokens by the served model's own vocabulary."""


class StartupFailure(StrEnum):
    PORT_TAKEN = "port taken"
    WEIGHTS = "weights"
    TEMPLATE = "template"
    MEMORY = "memory"
    SLOW = "slow"
    UNKNOWN = "unknown"


class StartupError(ServeError):
    """The server ended, or was ended, before it was ready."""

    def __init__(self, text: str, failure: StartupFailure, log_line: str) -> None:
        super().__init__(text)
        self.failure = failure
        self.log_line = log_line
        """The line of the log that names the cause; empty where none does."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Memory:
    """What a process holds in memory."""

    rss_bytes: int
    """The resident set, weights mapped from their file included."""
    peak_rss_bytes: int
    own_bytes: int
    """Not backed by a file: the cache, buffers, state."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Counters:
    """What a server has computed since its start, or between two readings."""

    prompt_tokens: float
    """Processed; tokens taken from the cache are not included."""
    prompt_s: float
    generated_tokens: float
    generation_s: float
    cached_tokens: float | None
    """Taken from the cache; None where the server does not count them."""

    def since(self, earlier: "Counters") -> "Counters":
        difference = Counters(
            prompt_tokens=self.prompt_tokens - earlier.prompt_tokens,
            prompt_s=self.prompt_s - earlier.prompt_s,
            generated_tokens=self.generated_tokens - earlier.generated_tokens,
            generation_s=self.generation_s - earlier.generation_s,
            cached_tokens=None
            if self.cached_tokens is None or earlier.cached_tokens is None
            else self.cached_tokens - earlier.cached_tokens,
        )
        if difference.prompt_tokens < 0 or difference.generated_tokens < 0:
            raise ServeError(
                "the server's counters decreased: it restarted between two readings, "
                "or they were read in the wrong order"
            )
        return difference
