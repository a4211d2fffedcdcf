"""Reads a chat completion as it streams by; what it cannot read it passes over."""

from dataclasses import dataclass

import msgspec
from msgspec import Struct

from llamatrix.lines import LineSplitter

_LONGEST_EVENT_BYTES = 64 << 20


class Timings(Struct, frozen=True, kw_only=True):
    """llama-server's own, of one completion; `*_ms` in milliseconds."""

    prompt_n: int
    """Prompt tokens processed; those taken from the cache are not in it."""
    prompt_ms: float
    predicted_n: int
    predicted_ms: float
    cache_n: int | None = None


class _CachedTokens(Struct, frozen=True):
    cached_tokens: int | None = None


class _ReasoningTokens(Struct, frozen=True):
    reasoning_tokens: int | None = None


class Usage(Struct, frozen=True):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _CachedTokens | None = None
    completion_tokens_details: _ReasoningTokens | None = None


class _Function(Struct, frozen=True):
    name: str | None = None
    arguments: str | None = None


class _ToolCall(Struct, frozen=True):
    index: int | None = None
    """Which call a piece belongs to; a whole answer has none."""
    id: str | None = None
    function: _Function = _Function()


class _Delta(Struct, frozen=True):
    content: str | None = None
    reasoning_content: str | None = None
    tool_calls: tuple[_ToolCall, ...] | None = None


class _Choice(Struct, frozen=True):
    delta: _Delta | None = None
    message: _Delta | None = None
    finish_reason: str | None = None


class _Chunk(Struct, frozen=True):
    choices: tuple[_Choice, ...] = ()
    usage: Usage | None = None
    timings: Timings | None = None
    error: msgspec.Raw = msgspec.Raw()


@dataclass(kw_only=True, slots=True)
class CalledTool:
    """A tool that the model calls, as far as it has come."""

    id: str = ""
    name: str = ""
    arguments: str = ""


class Answer:
    """What is known of one answer so far."""

    def __init__(self) -> None:
        self.usage = Usage()
        self.timings: Timings | None = None
        self.tool_calls: list[str] = []
        """The tools called, by name, in order."""
        self.finish_reason: str | None = None
        self.error: str | None = None
        self.saw_token = False
        self.complete = False
        """Whether the stream was closed by its own last line."""
        self._splitter = LineSplitter(longest_bytes=_LONGEST_EVENT_BYTES)
        self._pieces: dict[str, list[str]] = {}
        self._called: dict[int, CalledTool] = {}

    @property
    def called(self) -> tuple[CalledTool, ...]:
        """The tools called, with their arguments, in order."""
        for index, tool in self._called.items():
            tool.arguments = "".join(self._pieces.get(f"call {index}", ()))
        return tuple(self._called.values())

    @property
    def said(self) -> tuple[str, ...]:
        """Content, reasoning and each tool call's arguments, pieces joined."""
        return tuple("".join(pieces) for pieces in self._pieces.values())

    def feed(self, part: bytes) -> None:
        """Take bytes of a server-sent event stream, cut anywhere."""
        for line in self._splitter.feed(part):
            text = line.strip()
            if text == b"data: [DONE]":
                self.complete = True
            elif text.startswith(b"data:"):
                self.read(text.removeprefix(b"data:"))
            elif text.startswith(b"error:"):
                self.error = text.removeprefix(b"error:").decode(errors="replace")

    def read(self, text: bytes) -> None:
        """Take one JSON document: a chunk of a stream, or a whole answer."""
        try:
            chunk = msgspec.json.decode(text, type=_Chunk)
        except (msgspec.MsgspecError, RecursionError):
            return
        self.usage = chunk.usage or self.usage
        self.timings = chunk.timings or self.timings
        if bytes(chunk.error) not in {b"", b"null"}:
            self.error = bytes(chunk.error).decode(errors="replace")
        for choice in chunk.choices:
            self.finish_reason = choice.finish_reason or self.finish_reason
            self._take(choice.delta or choice.message or _Delta())

    def _take(self, delta: _Delta) -> None:
        self._add("content", delta.content)
        self._add("reasoning", delta.reasoning_content)
        for position, call in enumerate(delta.tool_calls or ()):
            index = position if call.index is None else call.index
            tool = self._called.setdefault(index, CalledTool())
            tool.id = tool.id or call.id or ""
            tool.name = tool.name or call.function.name or ""
            self._add(f"call {index}", call.function.arguments)
        if delta.content or delta.reasoning_content or delta.tool_calls:
            self.saw_token = True
        self.tool_calls += [
            call.function.name for call in delta.tool_calls or () if call.function.name
        ]

    def _add(self, channel: str, piece: str | None) -> None:
        if piece:
            self._pieces.setdefault(channel, []).append(piece)
