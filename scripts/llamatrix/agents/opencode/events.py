"""`opencode run --format json`: six kinds of lines, the same in both pins."""

from collections.abc import Iterable

from msgspec import Raw, Struct

from llamatrix.agents.context7 import TOOL_NAMES
from llamatrix.agents.protocol import (
    Action,
    AgentEvents,
    ToolCall,
    action_of,
    look_up,
)
from llamatrix.proxy.wire_api import decode

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


_TOOLS = {
    "read": ("read", {"path": "filePath"}),
    "write": ("write", {"path": "filePath", "content": "content"}),
    "edit": ("edit", {"path": "filePath", "old": "oldString", "new": "newString"}),
    "bash": ("run", {"command": "command"}),
}
"""By tool: the tag of its action, and the arguments in the order ours → OpenCode's."""


def parse(lines: Iterable[str]) -> AgentEvents:
    """Read what standard output says of one turn."""
    events = [event for line in lines if (event := decode(line, _Event))]
    errors = (event.error for event in events if event.type == "error")
    reasons = [event.part.reason for event in events if event.type == "step_finish"]
    return AgentEvents(
        session_id=next((e.sessionID for e in events if e.sessionID), None),
        errors=tuple(_complaint(error) for error in errors),
        finish=reasons[-1] if reasons else "",
    )


def read_tool_call(line: str) -> ToolCall | None:
    """Read a line of an event log; None for other events, and what is no event."""
    event = decode(line, _Event)
    if event is None or event.type != "tool_use":
        return None
    tool, state = event.part.tool, event.part.state
    metadata = decode(state.metadata, _Metadata) or _Metadata()
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
    if tool in _TOOLS:
        kind, names = _TOOLS[tool]
        given = decode(arguments, dict[str, object]) or {}
        ours = {our: given[its] for our, its in names.items() if its in given}
        return action_of(kind, ours)
    looked_up = next((name for name in TOOL_NAMES if tool.endswith(name)), None)
    if looked_up:
        return look_up(looked_up, decode(arguments, dict[str, object]) or {})
    return None


def _complaint(error: _Error) -> str:
    status = f" (HTTP {error.data.statusCode})" if error.data.statusCode else ""
    return f"{error.name}{status}: {error.data.message}"
