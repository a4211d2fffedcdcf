"""The tool calls of a trial, one JSON line each, over all its turns."""

from collections.abc import Iterable
from pathlib import Path

import msgspec

from llamatrix.agents.context7 import PAGE_TOOLS
from llamatrix.agents.opencode import events as opencode_events
from llamatrix.agents.protocol import LookUp, ToolCall
from llamatrix.proxy.wire_api import decode


def write_trajectory(calls: Iterable[ToolCall]) -> bytes:
    return b"".join(msgspec.json.encode(call) + b"\n" for call in calls)


def read_trajectory(path: Path) -> tuple[ToolCall, ...]:
    """Read a trajectory, or an agent's own event log, as trials kept it before.

    Other lines, such as the cut last line of a killed run, are skipped.
    """
    lines = path.read_text(errors="replace").split("\n")  # texts hold U+2028
    return tuple(call for line in lines if (call := _read(line)))


def _read(line: str) -> ToolCall | None:
    return decode(line, ToolCall) or opencode_events.read_tool_call(line)


def is_page_request(call: ToolCall) -> bool:
    """Return whether a call asks Context7 for documentation."""
    return isinstance(call.action, LookUp) and call.action.tool in PAGE_TOOLS


def requested_library(call: ToolCall) -> str:
    """Return the library that a call asks about, such as `/encode/httpx`.

    It is without a version, and empty where the trajectory has no arguments.
    """
    if not isinstance(call.action, LookUp):
        return ""
    given = call.action.arguments
    name = given.get("libraryId") or given.get("context7CompatibleLibraryID", "")
    return "/".join(name.strip().split("/")[:3]).partition("@")[0]
