"""What a wire API is to the proxy: one module per API reads its requests and answers.

A module is a `WireApi`: `chat_completions` is one.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import msgspec
from msgspec import Raw, Struct

from llamatrix.lines import LineSplitter
from llamatrix.proxy.call import Timings

_LONGEST_EVENT_BYTES = 64 << 20


@dataclass(kw_only=True, slots=True)
class CalledTool:
    """A tool call in an answer of the model, as far as it has arrived."""

    id: str = ""
    name: str = ""
    arguments: str = ""
    """JSON as the model wrote it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ToolResult:
    """The result of a tool call, as a later request carries it."""

    call_id: str
    name: str
    """The tool as the agent names it in the conversation, which may differ from the
    name that the model called."""
    text: str


_Kind = TypeVar("_Kind")


def decode(text: str | bytes | Raw, kind: type[_Kind]) -> _Kind | None:
    """Return JSON of an agent or a model; None where it is not of this kind."""
    try:
        return msgspec.json.decode(text, type=kind)
    except (msgspec.MsgspecError, RecursionError):  # cut, or nested without end
        return None


class Breakdown(Struct, frozen=True, kw_only=True):
    """Tokens of a conversation by origin, in the manner of tokenscope."""

    system: int
    tools: int
    """The definitions of the offered tools, as JSON."""
    user: int
    assistant: int
    """The model's text and tool calls."""
    reasoning: int
    tool_results: int

    @property
    def total(self) -> int:
        return sum(getattr(self, name) for name in self.__struct_fields__)


class ModelRequest(Protocol):
    @property
    def model(self) -> str: ...
    @property
    def stream(self) -> bool: ...
    @property
    def tool_names(self) -> tuple[str, ...]:
        """The offered tools."""

    @property
    def system_text(self) -> str: ...
    @property
    def first_user_text(self) -> str:
        """Identifies the conversation: all its requests begin with the same text."""

    @property
    def text_length(self) -> int:
        """Characters of all messages."""

    @property
    def answers_given(self) -> int:
        """The number of answers of the model in this conversation so far."""

    @property
    def tool_results(self) -> Iterator[ToolResult]: ...


@dataclass(kw_only=True, slots=True)
class ModelAnswer(ABC):
    """What is known of an answer so far, whole or streamed as server-sent events."""

    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    generated_tokens: int | None = None
    reasoning_tokens: int | None = None
    timings: Timings | None = None
    finish_reason: str | None = None
    error: str | None = None
    saw_token: bool = False
    complete: bool = False
    """Whether the stream was closed by its own last event."""
    _splitter: LineSplitter = field(
        default_factory=lambda: LineSplitter(longest_bytes=_LONGEST_EVENT_BYTES)
    )

    @property
    @abstractmethod
    def called(self) -> tuple[CalledTool, ...]:
        """The tool calls, in order."""

    @property
    @abstractmethod
    def texts(self) -> tuple[str, ...]:
        """Content, reasoning and each tool call's arguments, pieces joined."""

    @abstractmethod
    def read(self, document: bytes) -> None:
        """Take the data of one event, or a whole answer; skip what cannot be read."""

    def feed(self, part: bytes) -> None:
        """Take bytes of an event stream, cut anywhere."""
        for line in self._splitter.feed(part):
            text = line.strip()
            if text.startswith(b"data:"):
                self.read(text.removeprefix(b"data:").strip())
            elif text.startswith(b"error:"):
                self.error = text.removeprefix(b"error:").decode(errors="replace")


class WireApi(Protocol):
    PATH: str
    """The path that completions are requested at."""

    def read_request(self, body: bytes) -> ModelRequest | None:
        """Return the request, or None where the body is not one."""

    def new_answer(self) -> ModelAnswer: ...

    def breakdown(self, request: bytes, count: Callable[[str], int]) -> Breakdown:
        """Split a recorded request by origin; `count` returns the tokens of a text.

        The chat template's markup between the parts is in no part.
        """
