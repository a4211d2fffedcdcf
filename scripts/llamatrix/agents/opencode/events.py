"""Reads `opencode run --format json`: six kinds of lines, the same in both pins."""

from collections.abc import Iterable
from dataclasses import dataclass

import msgspec
from msgspec import Raw, Struct

AUTO_REJECT_SIGN = "auto-rejecting"
"""Said on standard error where a permission was asked for and nobody could answer."""
INVALID_TOOL = "invalid"
"""What OpenCode calls a tool that does not exist, or whose arguments are no JSON."""


class _Time(Struct, frozen=True):
    start: float = 0
    end: float = 0


class _State(Struct, frozen=True):
    status: str = ""
    input: Raw = Raw(b"{}")
    output: str = ""
    error: str = ""
    metadata: Raw = Raw(b"{}")
    time: _Time = _Time()


class _Part(Struct, frozen=True):
    tool: str = ""
    text: str = ""
    reason: str = ""
    state: _State = _State()


class _ErrorData(Struct, frozen=True):
    message: str = ""
    statusCode: int | None = None  # noqa: N815  OpenCode's own spelling


class _Error(Struct, frozen=True):
    name: str = ""
    data: _ErrorData = _ErrorData()


class _Event(Struct, frozen=True):
    type: str
    timestamp: float = 0
    sessionID: str = ""  # noqa: N815  OpenCode's own spelling
    part: _Part = _Part()
    error: _Error = _Error()


@dataclass(frozen=True, kw_only=True, slots=True)
class ToolUse:
    tool: str
    status: str
    """`completed` or `error`; a command that exits with 3 is `completed`."""
    input: bytes
    """JSON."""
    output: str
    error: str
    metadata: bytes
    """JSON; a command's exit code is `exit` in it."""
    begun_ms: float
    ended_ms: float

    @property
    def failed(self) -> bool:
        return self.status == "error" or self.tool == INVALID_TOOL


@dataclass(frozen=True, kw_only=True, slots=True)
class Session:
    """What the stream tells of one turn."""

    session_id: str | None
    tool_uses: tuple[ToolUse, ...]
    texts: tuple[str, ...]
    errors: tuple[str, ...]
    """Name, status and message of every error event."""
    finish: str
    """The reason of the last step, for an explanation: the tap's calls decide."""
    unread: int
    """Lines that are no event."""


def parse(lines: Iterable[str]) -> Session:
    events = []
    unread = 0
    for line in lines:
        try:
            events.append(msgspec.json.decode(line, type=_Event))
        except (msgspec.MsgspecError, RecursionError):  # nested without end
            unread += bool(line.strip())
    return Session(
        session_id=next((e.sessionID for e in events if e.sessionID), None),
        tool_uses=tuple(_tool_use(e.part) for e in events if e.type == "tool_use"),
        texts=tuple(e.part.text for e in events if e.type == "text"),
        errors=tuple(_complaint(e.error) for e in events if e.type == "error"),
        finish=next(
            (e.part.reason for e in reversed(events) if e.type == "step_finish"), ""
        ),
        unread=unread,
    )


def _tool_use(part: _Part) -> ToolUse:
    state = part.state
    return ToolUse(
        tool=part.tool,
        status=state.status,
        input=bytes(state.input),
        output=state.output,
        error=state.error,
        metadata=bytes(state.metadata),
        begun_ms=state.time.start,
        ended_ms=state.time.end,
    )


def _complaint(error: _Error) -> str:
    status = f" (HTTP {error.data.statusCode})" if error.data.statusCode else ""
    return f"{error.name}{status}: {error.data.message}"
