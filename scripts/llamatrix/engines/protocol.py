"""The contract of an engine, a program that runs a model.

A member of the family is a folder beside this file. It alone knows what its programs
print and answer: everything outside sees the types of this module and of `outcome.py`.
"""

import hashlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from llamatrix import shell
from llamatrix.config.cell import EngineCell, SpeedTest
from llamatrix.config.matrix import Backend, Draft, Model, Server, Sweep
from llamatrix.engines.outcome import Outcome, SpeedResult, SpeedSample
from llamatrix.errors import ServeError
from llamatrix.provision.build import Built
from llamatrix.provision.weights.provide import Weights
from llamatrix.web import Site


@dataclass(frozen=True, kw_only=True, slots=True)
class Installed:
    built: Built
    weights: Weights
    draft_weights: Path | None = None
    """None where no other model drafts."""


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


@dataclass(frozen=True, kw_only=True, slots=True)
class Launch:
    """What is served and how."""

    program: Path
    weights: Path
    alias: str
    """The model's key: the name clients ask for."""
    model: Model
    server: Server
    template: Path | None = None
    """The chat template to serve with; None takes the one inside the weights."""
    template_pin: str | None = None
    """The template's sha256 in the lock; None where the lock has none."""
    commit: str | None = None
    """The commit the program should be built from; None where unknown."""
    port: int | None = None
    """None takes any free one."""
    draft: Draft | None = None
    draft_weights: Path | None = None
    seed: int | None = None
    """Of every answer; None takes a new one for each."""
    extra: tuple[str, ...] = ()
    """Flags of this machine, not of the measurement: put last, unchanged."""

    def template_sha256(self) -> str | None:
        """Return the hash of the template to serve with; None for the weights' own.

        As the server reports it: Jinja drops one newline at the end of a template.
        """
        if self.template is None:
            return None
        try:
            text = self.template.read_bytes()
        except OSError as error:
            raise ServeError(
                f"{self.template}: the chat template cannot be read: {error.strerror}"
            ) from error
        return hashlib.sha256(text.removesuffix(b"\n")).hexdigest()


@dataclass(frozen=True, kw_only=True, slots=True)
class Timeouts:
    """How long each step of a server may take before the next, harder one."""

    ready_s: float = 900
    """A cold 20 GB file from a slow disk needs minutes."""
    first_s: float = 10
    """After the first SIGTERM: requests in flight are given up by then."""
    second_s: float = 2
    """After the second; then comes SIGKILL."""


class Engine(Protocol):
    def install(
        self,
        cell: EngineCell,
        cache: Path,
        *,
        weights_dir: Path | None = None,
        program: str = "",
        meanwhile: Callable[[], None] | None = None,
    ) -> Installed:
        """Provide programs and weights, verified; ProvisionError where that fails.

        Of a cell whose draft is a model of its own, that model's weights too.

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

    def manual_command(self, bench: Bench, tests: Sequence[SpeedTest]) -> str:
        """Return the shell command that does what one process of `bench` does."""

    def run_bare(
        self, bench: Bench, tests: Sequence[SpeedTest], *, out: Path, timeout_s: float
    ) -> "BareRun":
        """Start that command bare: output into files, nothing sampled meanwhile."""

    def launch_for(
        self, bench: Bench, served: Served, tests: Sequence[SpeedTest]
    ) -> Launch:
        """Return the launch of a server with the sweep's flags and room for the tests."""

    def start_outcome(self, error: "StartupError", tail: tuple[str, ...]) -> Outcome:
        """Return what a server that did not start makes of its tests."""

    def serve(
        self, launch: Launch, *, log: Path, timeouts: Timeouts | None = None
    ) -> AbstractContextManager["Endpoint"]:
        """Start a server, verify that it serves what was requested, end it on leaving.

        Raises StartupError where it never becomes ready.
        """

    def serve_in_foreground(
        self, launch: Launch, *, log: Path, show: Callable[["Endpoint"], None]
    ) -> None:
        """Serve until Ctrl-C; ServeError where the server ends.

        `show` is called once, when the server is ready.
        """


@dataclass(frozen=True, kw_only=True, slots=True)
class BareRun:
    """A process that was started without the harness around it."""

    argv: tuple[str, ...]
    exit_code: int
    wall_s: float
    samples: tuple[SpeedSample, ...]
    """A row that a crash cut short is left out."""


class Endpoint(Protocol):
    """A model that answers requests."""

    @property
    def launch(self) -> Launch: ...

    @property
    def url(self) -> str:
        """The address without a path: clients add `/v1`."""

    @property
    def site(self) -> Site: ...

    @property
    def argv(self) -> tuple[str, ...]: ...

    @property
    def log(self) -> Path: ...

    @property
    def chat_template(self) -> str: ...

    @property
    def template_sha256(self) -> str:
        """Of the chat template in use, without a newline at its end."""

    @property
    def is_alive(self) -> bool: ...

    @property
    def poll(self) -> Callable[[], int | None]:
        """Its exit code as the kernel reports it; None while it runs."""

    def diagnose(self, log_text: str, returncode: int) -> tuple["StartupFailure", str]:
        """Return why it ended, and the line of its log that says so."""

    def off_card(self, *, host_bytes: int) -> tuple[str, ...]:
        """Return what is on the host, beyond as many bytes of weights."""

    def split_graph(self) -> tuple[str, ...]:
        """Return a sign if it computes in turn on card and host."""

    def about(self) -> dict[str, str]:
        """Return what else the engine knows of it, for people, by a word for each."""

    def memory(self) -> "Memory": ...

    def counters(self) -> "Counters":
        """What was done since the start."""

    def count_tokens(self, text: str, *, timeout_s: float) -> int:
        """Count tokens by the served model's own vocabulary."""

    @property
    def context_tokens(self) -> int:
        """The capacity of one slot."""

    def tokenize(
        self, text: str, *, timeout_s: float = 60.0, add_special: bool = False
    ) -> tuple[int, ...]:
        """Return a text's tokens; special ones are parsed as such.

        `add_special` puts the vocabulary's own beginning in front.
        """

    def end_tokens(self) -> tuple[int, ...]:
        """Return the tokens that end a generation."""


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
