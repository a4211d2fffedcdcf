"""OpenCode's event log (`opencode run --format json`) as the tool calls it holds.

Lines that are not events (the cut last line of a killed run) are passed over.
"""

import re
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec import Struct

from llamatrix.agents.opencode.events import ToolUse, parse

Kind = TypeVar("Kind")


class _Metadata(Struct):
    exit: int | None = None


class _Input(Struct):
    command: str = ""
    path: str = msgspec.field(default="", name="filePath")
    content: str = ""
    old: str = msgspec.field(default="", name="oldString")
    new: str = msgspec.field(default="", name="newString")


class ToolCall(Struct, frozen=True, kw_only=True):
    tool: str
    completed: bool
    output: str
    exit_code: int | None
    """Of a shell command; None for other tools and commands that were cut."""
    command: str = ""
    path: str = ""
    """The file a `write` or `edit` is about, as the model named it."""
    content: str = ""
    old: str = ""
    new: str = ""


LOOKUPS = ("query-docs", "get-library-docs")
"""How the names of Context7's tools end that bring documentation."""
_FAILED_LOOKUP = re.compile(
    r"^\s*(error|failed|no (documentation|results)\b)", re.IGNORECASE
)


def read_transcript(path: Path) -> tuple[ToolCall, ...]:
    """All tool calls, in order; those of several turns one after the other."""
    lines = path.read_text(errors="replace").split("\n")  # texts hold U+2028
    return tuple(_call(use) for use in parse(lines).tool_uses)


def _call(use: ToolUse) -> ToolCall:
    given = _read(use.input, _Input)
    return ToolCall(
        tool=use.tool,
        completed=not use.failed and use.status == "completed",
        output=use.output or use.error,
        exit_code=_read(use.metadata, _Metadata).exit,
        command=given.command,
        path=given.path,
        content=given.content,
        old=given.old,
        new=given.new,
    )


def _read(text: bytes, kind: type[Kind]) -> Kind:
    """The object, or an empty one: a model's malformed arguments are no error of ours."""
    try:
        return msgspec.json.decode(text, type=kind)
    except (msgspec.MsgspecError, RecursionError):
        return kind()


def looked_up_docs(call: ToolCall) -> bool:
    """Whether this call got documentation from Context7.

    Its tools are named `<server>_query-docs` (`get-library-docs` before 2.0). With
    its back end down the call completes all the same, with an error for its text.
    """
    return (
        call.completed
        and call.tool.endswith(LOOKUPS)
        and bool(call.output.strip())
        and not _FAILED_LOOKUP.match(call.output)
    )
