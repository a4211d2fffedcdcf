"""The contract of an engine, a program that runs a model.

A member of the family is a folder beside this file. It alone knows what its programs
print and answer: everything outside sees the types of this module and of `outcome.py`.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol, TypeVar

from llamatrix import shell
from llamatrix.config.cell import EngineCell, SpeedTest
from llamatrix.config.matrix import Backend, Draft, Model, Sweep
from llamatrix.engines.outcome import SpeedResult
from llamatrix.errors import ServeError

Installed_co = TypeVar("Installed_co", covariant=True)
Launch_contra = TypeVar("Launch_contra", contravariant=True)


@dataclass(frozen=True, kw_only=True, slots=True)
class Bench:
    """The program, weights and sweep of a speed measurement."""

    program: Path
    weights: Path
    commit: str
    """The commit that the program must report with its results; empty accepts any."""
    fork: str = ""
    """Whose command line and rows the program has; empty for the engine's own."""
    sweep: Sweep
    log: Path
    backend: Backend | None = None
    """The backend that must have computed the results; None accepts any."""
    warm_up_limit_s: float = 0.0
    """How long GPUs may take to reach their steady state; 0 skips the warm-up."""
    served: "Served | None" = None
    """Measure a server by requests to it; None runs the engine's own benchmark."""
    batched: bool = False
    """Whether that is the one with several sequences in a batch."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Served:
    """What a server is started with, beyond the sweep's flags."""

    alias: str
    model: Model
    draft: Draft | None
    draft_weights: Path | None
    """None where the draft has no file of its own."""


class Engine(Protocol[Installed_co, Launch_contra]):
    def install(
        self,
        cell: EngineCell,
        cache: Path,
        *,
        weights_dir: Path | None = None,
        program: str = "",
        meanwhile: Callable[[], None] | None = None,
    ) -> Installed_co:
        """Provide programs and weights, verified; ProvisionError where that fails.

        `weights_dir` is a folder of the user's that is searched first. A single
        `program` may be there sooner than all of them. `meanwhile` is done beside the
        compiler, where it runs.
        """

    def bench(
        self,
        bench: Bench,
        tests: Sequence[SpeedTest],
        *,
        on_result: Callable[[SpeedResult], None],
        on_progress: Callable[[str], None],
    ) -> tuple[shell.Ended, list[SpeedTest]]:
        """Measure the tests, in order, in one process.

        Each result, a `SpeedSample` or a failure, is handed over as soon as it is known.
        A process may end early: returns how it ended, and the tests without a result,
        which need another process. At least one test gets a result.
        """

    def keep_busy(
        self, bench: Bench
    ) -> AbstractContextManager[Callable[[], bool | None]]:
        """Compute until the block is left, to warm up the device.

        Yields a function that tells whether computing has begun (loading weights is no
        load), or None after the program has ended.
        """

    def serve(
        self, launch: Launch_contra, *, log: Path
    ) -> AbstractContextManager["Endpoint"]:
        """Start a server, verify that it serves what was requested, end it on leaving.

        Raises StartupError where it never becomes ready.
        """


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
