"""The chat completions API: requests, and answers as they stream by."""

import codecs
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import msgspec
from msgspec import Raw, Struct

from llamatrix.proxy.call import Timings
from llamatrix.proxy.wire_api import (
    Breakdown,
    CalledTool,
    ModelAnswer,
    ToolResult,
    decode,
)

PATH = "/v1/chat/completions"


class _Part(Struct, frozen=True):
    text: str = ""


class _Named(Struct, frozen=True):
    name: str = ""


class _PastCall(Struct, frozen=True):
    id: str = ""
    function: _Named = _Named()


class Message(Struct, frozen=True):
    role: str
    content: str | list[_Part] | None = None
    tool_call_id: str | None = None
    tool_calls: Raw = Raw()

    @property
    def text(self) -> str:
        if isinstance(self.content, list):
            return "\n".join(part.text for part in self.content)
        return self.content or ""


class _OfferedTool(Struct, frozen=True):
    function: _Named


class ChatRequest(Struct, frozen=True):
    model: str = ""
    messages: tuple[Message, ...] = ()
    tools: tuple[_OfferedTool, ...] = ()
    stream: bool = False

    @property
    def tool_names(self) -> tuple[str, ...]:
        return tuple(tool.function.name for tool in self.tools)

    @property
    def system_text(self) -> str:
        return "\n".join(m.text for m in self.messages if m.role == "system")

    @property
    def first_user_text(self) -> str:
        return next((m.text for m in self.messages if m.role == "user"), "")

    @property
    def text_length(self) -> int:
        return sum(len(message.text) for message in self.messages)

    @property
    def answers_given(self) -> int:
        return sum(message.role == "assistant" for message in self.messages)

    @property
    def tool_results(self) -> Iterator[ToolResult]:
        names = {
            call.id: call.function.name
            for message in self.messages
            for call in _past_calls(message)
        }
        for message in self.messages:
            if message.role == "tool":
                call_id = message.tool_call_id or ""
                yield ToolResult(
                    call_id=call_id, name=names.get(call_id, ""), text=message.text
                )


def _past_calls(message: Message) -> tuple[_PastCall, ...]:
    return decode(message.tool_calls, tuple[_PastCall, ...]) or ()


def read_request(body: bytes) -> ChatRequest | None:
    return decode(body.removeprefix(codecs.BOM_UTF8), ChatRequest)


class _Details(Struct, frozen=True):
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None


class _Usage(Struct, frozen=True):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _Details | None = None
    completion_tokens_details: _Details | None = None


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
    usage: _Usage | None = None
    timings: Timings | None = None
    error: Raw = Raw()


@dataclass(kw_only=True, slots=True)
class ChatAnswer(ModelAnswer):
    _pieces: dict[str, list[str]] = field(default_factory=dict)
    _called: dict[int, CalledTool] = field(default_factory=dict)

    @property
    def called(self) -> tuple[CalledTool, ...]:
        for index, tool in self._called.items():
            tool.arguments = "".join(self._pieces.get(f"call {index}", ()))
        return tuple(self._called.values())

    @property
    def texts(self) -> tuple[str, ...]:
        return tuple("".join(pieces) for pieces in self._pieces.values())

    def read(self, document: bytes) -> None:
        if document == b"[DONE]":
            self.complete = True
            return
        if (chunk := decode(document, _Chunk)) is None:
            return
        if usage := chunk.usage:
            prompt = usage.prompt_tokens_details or _Details()
            completion = usage.completion_tokens_details or _Details()
            self.prompt_tokens = usage.prompt_tokens
            self.generated_tokens = usage.completion_tokens
            self.cached_tokens = prompt.cached_tokens
            self.reasoning_tokens = completion.reasoning_tokens
        self.timings = chunk.timings or self.timings
        if bytes(chunk.error) not in {b"", b"null"}:
            self.error = bytes(chunk.error).decode(errors="replace")
        for choice in chunk.choices:
            self.finish_reason = choice.finish_reason or self.finish_reason
            self._take(choice.delta or choice.message or _Delta())

    def _take(self, delta: _Delta) -> None:
        calls = delta.tool_calls or ()
        self._add("content", delta.content)
        self._add("reasoning", delta.reasoning_content)
        for position, call in enumerate(calls):
            index = position if call.index is None else call.index
            tool = self._called.setdefault(index, CalledTool())
            tool.id = tool.id or call.id or ""
            tool.name = tool.name or call.function.name or ""
            self._add(f"call {index}", call.function.arguments)
        if delta.content or delta.reasoning_content or calls:
            self.saw_token = True

    def _add(self, channel: str, piece: str | None) -> None:
        if piece:
            self._pieces.setdefault(channel, []).append(piece)


def new_answer() -> ChatAnswer:
    return ChatAnswer()


class _CountedMessage(Message, frozen=True):
    reasoning_content: str | None = None


class _CountedRequest(Struct, frozen=True):
    messages: tuple[_CountedMessage, ...] = ()
    tools: Raw = Raw()


def breakdown(request: bytes, count: Callable[[str], int]) -> Breakdown:
    read = msgspec.json.decode(request, type=_CountedRequest)

    def counted(texts: Iterable[str]) -> int:
        text = "\n".join(text for text in texts if text)
        return count(text) if text else 0

    def counted_by(*roles: str) -> int:
        return counted(m.text for m in read.messages if m.role in roles)

    return Breakdown(
        system=counted_by("system", "developer"),
        tools=counted([bytes(read.tools).decode()]),
        user=counted_by("user"),
        assistant=counted_by("assistant")
        + counted(bytes(m.tool_calls).decode() for m in read.messages),
        reasoning=counted(m.reasoning_content or "" for m in read.messages),
        tool_results=counted_by("tool"),
    )
