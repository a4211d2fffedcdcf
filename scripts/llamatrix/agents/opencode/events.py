"""`opencode run --format json`: six kinds of lines, the same in both pins."""

from collections.abc import Iterable
from typing import TypeVar

import msgspec
from msgspec import Raw, Struct

from llamatrix.agents.context7 import TOOL_NAMES
from llamatrix.agents.protocol import (
    Action,
    AgentEvents,
    Edit,
    LookUp,
    Read,
    Run,
    ToolCall,
    Write,
)

INVALID_TOOL = "invalid"
"""The name OpenCode gives a tool that does not exist or whose arguments are not JSON."""


class _Time(Struct, frozen=True):
    start: float = 0
    end: float = 0


class _State(Struct, frozen=True):
    status: str = ""
    """`completed` or `error`; a command that exits with 3 is `completed`."""
    input: Raw = Raw(b"{}")
    output: str = ""
    error: str = ""
    metadata: Raw = Raw(b"{}")
    time: _Time = _Time()


class _Part(Struct, frozen=True):
    tool: str = ""
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
    sessionID: str = ""  # noqa: N815  OpenCode's own spelling
    part: _Part = _Part()
    error: _Error = _Error()


class _Metadata(Struct):
    exit: int | None = None


class _Read(Struct, rename={"path": "filePath"}):
    path: str


class _Write(Struct, rename={"path": "filePath"}):
    path: str
    content: str


class _Edit(
    Struct, rename={"path": "filePath", "old": "oldString", "new": "newString"}
):
    path: str
    old: str
    new: str


class _Bash(Struct):
    command: str


def parse(lines: Iterable[str]) -> AgentEvents:
    """Read what standard output says of one turn."""
    events = [event for line in lines if (event := _decode(line, _Event))]
    errors = (event.error for event in events if event.type == "error")
    reasons = [event.part.reason for event in events if event.type == "step_finish"]
    return AgentEvents(
        session_id=next((e.sessionID for e in events if e.sessionID), None),
        errors=tuple(_complaint(error) for error in errors),
        finish=reasons[-1] if reasons else "",
    )


def read_tool_call(line: str) -> ToolCall | None:
    """Read a line of an event log; None for other events, and what is no event."""
    event = _decode(line, _Event)
    if event is None or event.type != "tool_use":
        return None
    tool, state = event.part.tool, event.part.state
    metadata = _decode(state.metadata, _Metadata) or _Metadata()
    return ToolCall(
        tool=tool,
        action=read_action(tool, state.input),
        completed=tool != INVALID_TOOL and state.status == "completed",
        output=state.output or state.error,
        exit_code=metadata.exit,
        begun_s=state.time.start / 1000,
        ended_s=state.time.end / 1000,
    )


def read_action(tool: str, arguments: bytes | Raw) -> Action | None:
    if tool == "read" and (read := _decode(arguments, _Read)):
        return Read(path=read.path)
    if tool == "write" and (write := _decode(arguments, _Write)):
        return Write(path=write.path, content=write.content)
    if tool == "edit" and (edit := _decode(arguments, _Edit)):
        return Edit(path=edit.path, old=edit.old, new=edit.new)
    if tool == "bash" and (bash := _decode(arguments, _Bash)):
        return Run(command=bash.command)
    looked_up = next((name for name in TOOL_NAMES if tool.endswith(name)), None)
    if looked_up:
        return LookUp(
            tool=looked_up, arguments=_decode(arguments, dict[str, str]) or {}
        )
    return None


_Kind = TypeVar("_Kind")


def _decode(text: str | bytes | Raw, kind: type[_Kind]) -> _Kind | None:
    try:
        return msgspec.json.decode(text, type=kind)
    except (msgspec.MsgspecError, RecursionError):  # cut, or nested without end
        return None


def _complaint(error: _Error) -> str:
    status = f" (HTTP {error.data.statusCode})" if error.data.statusCode else ""
    return f"{error.name}{status}: {error.data.message}"
