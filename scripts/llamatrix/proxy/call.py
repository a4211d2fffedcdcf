"""One call of a model as the tap saw it: a line of the recording."""

from enum import StrEnum
from pathlib import Path

import msgspec
from msgspec import Struct


class CallKind(StrEnum):
    MAIN = "main"
    TITLE = "title"
    COMPACTION = "compaction"
    SUBAGENT = "subagent"
    OTHER = "other"
    """Not the agent's: outside the model API, or of another program in the sandbox."""


class Trouble(StrEnum):
    """What went wrong with a call, seen from between agent and server."""

    UNREACHABLE = "unreachable"
    """Nothing listened at the model's address."""
    CUT = "cut"
    """The answer broke off."""
    REFUSED = "refused"
    """HTTP 4xx."""
    FAILED = "failed"
    """HTTP 5xx."""
    ERROR = "error"
    """An error inside the stream."""
    LEFT = "left"
    """The client closed the connection before the end."""
    BLOCKED = "blocked"
    """Not passed on: another process's, or outside the model API."""


class Timings(Struct, frozen=True, kw_only=True):
    """llama-server's own timings of one completion; `*_ms` in milliseconds."""

    prompt_n: int
    """Prompt tokens processed, without those taken from the cache."""
    prompt_ms: float
    predicted_n: int
    predicted_ms: float
    cache_n: int | None = None


class Call(Struct, frozen=True, kw_only=True, omit_defaults=True):
    index: int
    kind: CallKind
    path: str
    begun_s: float
    """Since the start of the tap, like the other times."""
    first_byte_s: float | None = None
    first_token_s: float | None = None
    """The first text, reasoning or tool call, not the role alone."""
    ended_s: float
    status: int | None = None
    request_bytes: int
    request_sha256: str
    answer_bytes: int
    answer_sha256: str
    tools_offered: tuple[str, ...] = ()
    prompt_tokens: int | None = None
    """The whole prompt, from `usage`."""
    cached_tokens: int | None = None
    generated_tokens: int | None = None
    reasoning_tokens: int | None = None
    """Where the server reports them; llama-server did not, as of 2026-10."""
    timings: Timings | None = None
    tool_calls: tuple[str, ...] = ()
    finish_reason: str | None = None
    trouble: Trouble | None = None
    error: str = ""


class CallTimes(Struct, frozen=True, kw_only=True):
    """The times of one call, in seconds since the start of the turn's tap."""

    kind: str
    begun_s: float
    first_token_s: float | None
    ended_s: float
    prompt_tokens: int | None
    """Processed; None without llama-server's timings."""
    generated_tokens: int | None
    tool_calls: tuple[str, ...]


def read_calls(recording: Path) -> tuple[Call, ...]:
    """Read `calls.jsonl` of a recording: its calls in order of their end."""
    lines = (recording / "calls.jsonl").read_bytes().splitlines()
    return tuple(msgspec.json.decode(line, type=Call) for line in lines)
