"""The outcomes of a measurement: data, never raised."""

import uuid
from enum import StrEnum
from statistics import fmean
from typing import Annotated

from msgspec import Meta, Raw, Struct

from llamatrix.clock import utc_now
from llamatrix.config.cell import SpeedTest
from llamatrix.config.matrix import Draft
from llamatrix.reason import first_error

Tokens = Annotated[int, Meta(ge=1)]
Nanoseconds = Annotated[int, Meta(ge=1)]
TokensPerSecond = Annotated[float, Meta(gt=0)]


class Drafting(Struct, frozen=True, kw_only=True):
    """What a server counted over the measured requests of a generation."""

    draft: Draft | None
    """None without drafts."""
    tokens: int
    """Generated, the first of each request included."""
    decode_calls: int
    """Of the model itself, prompts included."""
    drafts: int
    """Verified drafts: one for each step."""
    drafted: int
    accepted: int
    accepted_by_position: tuple[int, ...]
    own_bytes: int
    """Of the server: not backed by a file."""

    @property
    def mean_length(self) -> float:
        """Tokens that one step yields, the verified one included."""
        return 1 + self.accepted / self.drafts if self.drafts else 1.0


class Streams(Struct, frozen=True, kw_only=True):
    """What each client saw of its measured requests, one value for each."""

    first_token_ns: tuple[Nanoseconds, ...]
    """From sending the request to the first token."""
    tokens_per_second: tuple[TokensPerSecond, ...]
    """After the first token, by the server's clock."""


class SpeedSample(Struct, frozen=True, kw_only=True, tag="speed"):
    """One test of one process, normalised from what the engine printed.

    `tokens`, `nanoseconds` and `tokens_per_second` hold one value per repetition, in
    the order of running.
    """

    test: SpeedTest
    depth_tokens: int = 0
    """Tokens in the context before the test begins."""
    concurrency: Tokens = 1
    """Streams served at the same time."""
    first_token_ns: tuple[Nanoseconds, ...] = ()
    """From the request to the first token in each repetition, of the slowest client;
    only of endpoints, whose generation is timed from the first token on."""
    warmup_repetitions: int = 0
    """How many of the first repetitions are warm-up."""
    tokens: tuple[Tokens, ...]
    """Tokens processed or generated in each repetition."""
    nanoseconds: tuple[Nanoseconds, ...]
    """Wall time of each repetition."""
    tokens_per_second: tuple[TokensPerSecond, ...]
    """Speed of each repetition, rounded as the program printed it."""
    published_tps: TokensPerSecond
    """The program's own mean over all repetitions: llama-bench's `avg_ts`; ours where
    it tells none."""
    published_sd_tps: float
    """The program's own standard deviation: llama-bench's `stddev_ts`."""
    backend: str = ""
    """What computed, in the program's words: `CPU`, `CUDA`; an endpoint tells neither
    this nor any of the next seven."""
    device: str = ""
    """The device the program names, a processor or a GPU; may be empty."""
    build_commit: str = ""
    build_number: int | None = None
    model_type: str = ""
    model_bytes: int | None = None
    """Size of all tensors."""
    model_params: int | None = None
    threads: int | None = None
    client_ns: tuple[Nanoseconds, ...] = ()
    """Of a server: each whole request by the client's clock."""
    drafting: Drafting | None = None
    """Of a server's generation."""
    streams: Streams | None = None
    """Of a server's generation for several clients."""
    memory_bytes: int | None = None
    """The peak of the process's GPU memory during its repetitions; None if unknown."""
    raw: Raw
    """The line the program printed, unchanged."""

    def __post_init__(self) -> None:
        """Refuse a sample without repetitions or tokens, or with unequal lists."""
        counts = {len(self.tokens), len(self.nanoseconds), len(self.tokens_per_second)}
        if counts != {len(self.tokens)} or counts == {0}:
            raise ValueError(f"repetitions: {sorted(counts)} values, expected equal")
        if min(self.tokens) < 1:
            raise ValueError(f"repetitions of {min(self.tokens)} tokens")

    @property
    def repetitions(self) -> int:
        """Their number, warm-up included."""
        return len(self.tokens_per_second)

    @property
    def steady(self) -> tuple[float, ...]:
        """Tokens per second of the repetitions after the warm-up ones, unrounded.

        The first is always excluded: llama-bench's own warm-up does not reach the clocks
        and kernels of a long prompt. Empty for a sample of one repetition.
        """
        begin = max(1, self.warmup_repetitions)
        pairs = zip(self.tokens[begin:], self.nanoseconds[begin:], strict=True)
        return tuple(1e9 * tokens / ns for tokens, ns in pairs)

    @property
    def steady_tps(self) -> float | None:
        """The mean of the steady repetitions; None without any."""
        return fmean(self.steady) if self.steady else None

    @property
    def first_deviation(self) -> float | None:
        """The first repetition relative to the steady mean: -0.15 is 15 % slower."""
        if self.steady_tps is None:
            return None
        return 1e9 * self.tokens[0] / self.nanoseconds[0] / self.steady_tps - 1


class Done(Struct, frozen=True, kw_only=True, tag="done"):
    result: SpeedSample


class TimedOut(Struct, frozen=True, kw_only=True, tag="timed-out"):
    """Stopped by the harness at its time limit."""

    after_s: float
    tail: tuple[str, ...]


class Crashed(Struct, frozen=True, kw_only=True, tag="crashed"):
    """Ended by itself with an error; its last lines may name the reason."""

    exit_code: int
    """As the kernel reports it: negative for a signal."""
    tail: tuple[str, ...]


class Stage(StrEnum):
    """How far a program was when it failed."""

    LOADING = "loading"
    """Weights, cache and buffers: nothing is computed yet."""
    PREFILL = "prefill"
    GENERATION = "generation"


class OutOfMemory(Struct, frozen=True, kw_only=True, tag="out-of-memory"):
    """The program reported that it could not allocate memory."""

    exit_code: int
    tail: tuple[str, ...]
    stage: Stage | None = None
    """None in older records."""


class ContextTooLarge(Struct, frozen=True, kw_only=True, tag="context-too-large"):
    """A context of this size could not be created; llama.cpp did not blame memory."""

    exit_code: int
    tail: tuple[str, ...]


class Invalid(Struct, frozen=True, kw_only=True, tag="invalid"):
    """The program printed a row that does not match the request or contradicts itself."""

    reason: str
    tail: tuple[str, ...]
    """The row, truncated, or what was printed in its place."""


class NotDrafting(Struct, frozen=True, kw_only=True, tag="not-drafting"):
    """The server answered without the drafts it was asked to make: no number."""

    reason: str
    tail: tuple[str, ...]
    """What its log says of drafts."""


class EndpointFailure(StrEnum):
    """Why an endpoint gave no number."""

    DOWN = "down"
    UNAUTHORISED = "unauthorised"
    NO_MODEL = "no such model"
    RATE_LIMITED = "rate limited"
    SERVER_ERROR = "server error"
    REFUSED = "request refused"
    STREAM_CUT = "stream cut"
    NOT_OPENAI = "not an OpenAI answer"
    NOT_STREAMED = "not streamed"
    NO_COUNTS = "no token counts"
    SHORT = "short answer"
    CACHED = "prompt cached"

    @property
    def passing(self) -> bool:
        """Whether the same request may succeed once the server is mended."""
        return self in {
            *(EndpointFailure.DOWN, EndpointFailure.UNAUTHORISED),
            *(EndpointFailure.NO_MODEL, EndpointFailure.RATE_LIMITED),
            *(EndpointFailure.SERVER_ERROR, EndpointFailure.STREAM_CUT),
        }


class EndpointFailed(Struct, frozen=True, kw_only=True, tag="endpoint-failed"):
    """An endpoint did not answer as the measurement needs it."""

    failure: EndpointFailure
    reason: str
    """Without address and key."""


Outcome = (
    Done
    | TimedOut
    | Crashed
    | OutOfMemory
    | ContextTooLarge
    | Invalid
    | NotDrafting
    | EndpointFailed
)


class Process(Struct, frozen=True, kw_only=True):
    """The process that measured a test."""

    id: str
    argv: tuple[str, ...]
    """As started, in the folder of the weights."""
    started_at: str
    """UTC, ISO 8601."""

    @classmethod
    def started(cls, argv: tuple[str, ...]) -> "Process":
        """Return a process that starts now, with an id of its own."""
        now = utc_now()
        return cls(id=uuid.uuid4().hex[:12], argv=argv, started_at=now)


class SpeedResult(Struct, frozen=True, kw_only=True):
    """The outcome of one test, handed over by the engine as soon as it is known."""

    test: SpeedTest
    outcome: Outcome
    process: Process


def reason_of(outcome: Outcome) -> str:
    """Say in one line why there is no number; empty for a finished test."""
    match outcome:
        case Done():
            return ""
        case (
            Invalid(reason=reason)
            | NotDrafting(reason=reason)
            | EndpointFailed(reason=reason)
        ):
            return reason
        case TimedOut(after_s=after_s):
            return f"after {after_s:.0f} s"
        case Crashed() | OutOfMemory() | ContextTooLarge():
            error = first_error(outcome.tail)
            return f"exit code {outcome.exit_code}" + (error and f": {error}")
