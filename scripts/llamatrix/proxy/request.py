"""What a recorded request says: its kind, the tools it offers, how far it has come."""

import codecs
from collections.abc import Mapping
from enum import StrEnum

import msgspec
from msgspec import Struct


class Kind(StrEnum):
    MAIN = "main"
    TITLE = "title"
    COMPACTION = "compaction"
    SUBAGENT = "subagent"
    OTHER = "other"
    """Not OpenCode's: outside the model API, or another program inside the sandbox."""


class _Part(Struct, frozen=True):
    text: str = ""


class Message(Struct, frozen=True):
    role: str
    content: str | list[_Part] | None = None

    @property
    def text(self) -> str:
        if isinstance(self.content, list):
            return "\n".join(part.text for part in self.content)
        return self.content or ""


class _Function(Struct, frozen=True):
    name: str


class _Tool(Struct, frozen=True):
    function: _Function


class ChatRequest(Struct, frozen=True):
    """The parts of a chat completion request that are read."""

    model: str = ""
    messages: tuple[Message, ...] = ()
    tools: tuple[_Tool, ...] = ()
    max_tokens: int | None = None
    stream: bool = False

    @property
    def tool_names(self) -> tuple[str, ...]:
        return tuple(tool.function.name for tool in self.tools)

    @property
    def answers_given(self) -> int:
        """How many turns the model has had in this conversation."""
        return sum(message.role == "assistant" for message in self.messages)


_CHAT_PATH = "/chat/completions"
_TITLE_SIGN = "title generator"
_COMPACTION_SIGNS = ("summariz", "context summar")
_MAIN_TOOL = "task"
"""Main agents have it; the subagents they start do not (1.3.2 and 1.18.33)."""
_PARENT_HEADER = "x-parent-session-id"
"""1.18.33 sends it with a subagent's calls; 1.3.2 sends no such header."""


def read_request(body: bytes) -> ChatRequest | None:
    """The request, or None where the body is none."""
    try:
        return msgspec.json.decode(body.removeprefix(codecs.BOM_UTF8), type=ChatRequest)
    except (msgspec.MsgspecError, RecursionError):
        return None


def kind_of(path: str, headers: Mapping[str, str], request: ChatRequest | None) -> Kind:
    """What OpenCode makes this call for. `headers` have lower-case names."""
    agent = headers.get("user-agent", "").lower()
    if request is None or not path.endswith(_CHAT_PATH) or "opencode" not in agent:
        return Kind.OTHER
    if headers.get(_PARENT_HEADER):
        return Kind.SUBAGENT
    if request.tools:
        return Kind.MAIN if _MAIN_TOOL in request.tool_names else Kind.SUBAGENT
    system = "\n".join(m.text for m in request.messages if m.role == "system").lower()
    if _TITLE_SIGN in system:
        return Kind.TITLE
    if any(sign in system for sign in _COMPACTION_SIGNS):
        return Kind.COMPACTION
    return Kind.MAIN
