"""Conversations as clients send them, and as parsers read them back from a prompt."""

import json
from dataclasses import dataclass
from typing import Literal, Protocol

import msgspec
from msgspec import Struct, field

Role = Literal["system", "developer", "user", "assistant", "tool"]
Json = dict[str, "Json"] | list["Json"] | str | float | int | bool | None


class Text(Struct, frozen=True, kw_only=True):
    text: str
    type: str = "text"


class ImageUrl(Struct, frozen=True, kw_only=True):
    url: str


class Image(Struct, frozen=True, kw_only=True):
    image_url: ImageUrl
    type: str = "image_url"


class Function(Struct, frozen=True, kw_only=True):
    name: str
    arguments: dict[str, Json] | str
    """An object, or its JSON text: clients send both."""


class ToolCall(Struct, frozen=True, kw_only=True):
    id: str
    function: Function
    type: str = "function"

    @property
    def arguments(self) -> dict[str, Json]:
        arguments = self.function.arguments
        if isinstance(arguments, str):
            parsed: dict[str, Json] = json.loads(arguments)
            return parsed
        return arguments


class Message(Struct, frozen=True, kw_only=True, omit_defaults=True):
    role: Role
    content: str | tuple[Text | Image, ...] | None = None
    reasoning_content: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None

    @property
    def text(self) -> str:
        """The text parts, without the whitespace that templates trim."""
        if isinstance(self.content, tuple):
            parts = [part.text for part in self.content if isinstance(part, Text)]
            return "".join(parts).strip()
        return (self.content or "").strip()


class Tool(Struct, frozen=True, kw_only=True):
    name: str
    description: str
    parameters: dict[str, Json]

    def declared(self) -> dict[str, Json]:
        return {
            "type": "function",
            "function": {
                "name": self.name,
                "description": self.description,
                "parameters": self.parameters,
            },
        }

    def type_of(self, argument: str) -> Json:
        """Return the JSON Schema type of an argument; None where it is not declared."""
        properties = self.parameters.get("properties")
        schema = properties.get(argument) if isinstance(properties, dict) else None
        return schema.get("type") if isinstance(schema, dict) else None


class Conversation(Struct, frozen=True, kw_only=True):
    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    kwargs: dict[str, Json] = field(default_factory=lambda: {"enable_thinking": True})

    @property
    def thinking(self) -> bool:
        return self.kwargs.get("enable_thinking") is not False

    @property
    def last_user(self) -> int:
        """Index of the last user message; -1 for none."""
        roles = [message.role for message in self.messages]
        return max(
            (index for index, role in enumerate(roles) if role == "user"), default=-1
        )

    def until(self, end: int) -> "Conversation":
        return msgspec.structs.replace(self, messages=self.messages[:end])

    def then(self, *messages: Message) -> "Conversation":
        return msgspec.structs.replace(self, messages=(*self.messages, *messages))

    def body(self) -> dict[str, object]:
        """Return the request body for `/apply-template` and `/v1/chat/completions`."""
        body: dict[str, object] = {
            "messages": self.messages,
            "chat_template_kwargs": self.kwargs,
        }
        if self.tools:
            body["tools"] = [tool.declared() for tool in self.tools]
        return body


def system(text: str) -> Message:
    return Message(role="system", content=text)


def user(text: str) -> Message:
    return Message(role="user", content=text)


def answer(
    text: str | None = None, *calls: ToolCall, thought: str | None = None
) -> Message:
    return Message(
        role="assistant", content=text, tool_calls=calls, reasoning_content=thought
    )


def call(number: int, name: str, arguments: dict[str, Json]) -> ToolCall:
    """Return a call with its arguments as JSON text, as OpenAI's clients send it."""
    text = json.dumps(arguments, ensure_ascii=False)
    return ToolCall(id=f"call_{number}", function=Function(name=name, arguments=text))


def result(number: int, text: str) -> Message:
    return Message(role="tool", tool_call_id=f"call_{number}", content=text)


class FormatError(Exception):
    """A prompt is not in the family's format."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ParsedMessage:
    role: Literal["system", "user", "assistant", "tool"]
    text: str = ""
    thought: str = ""
    """Empty for none and for an empty block."""
    calls: tuple[tuple[str, dict[str, Json]], ...] = ()
    """Name and arguments, in order."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ParsedPrompt:
    messages: tuple[ParsedMessage, ...]
    tools: frozenset[str] = frozenset()
    """Names of the declared tools."""


class Family(Protocol):
    """The format of one family: its prompts, and the text that its model generates."""

    name: str
    end: str
    """The text with which the model ends its turn."""
    thoughts_with_calls_only: bool
    """Whether thoughts are kept only in messages with a call."""

    def matches(self, template: str) -> bool:
        """Return whether a template has marks that only this family's templates carry."""
        ...

    def parse(self, prompt: str, conversation: Conversation) -> ParsedPrompt:
        """Parse the complete prompt, the opening of the answer included, or FormatError."""
        ...

    def reply(self, message: Message, conversation: Conversation) -> str:
        """Return the text that the model generates for this message."""
        ...

    def opening(self, conversation: Conversation) -> str:
        """Return the end of a prompt that asks for an answer in a new turn."""
        ...


def expected_prompt(conversation: Conversation, family: Family) -> ParsedPrompt:
    """Return the prompt as the format requires it: only thoughts of the current loop."""
    messages = []
    for index, message in enumerate(conversation.messages):
        current = index > conversation.last_user
        if family.thoughts_with_calls_only:
            current = current and bool(message.tool_calls)
        thought = (message.reasoning_content or "").strip() if current else ""
        messages.append(
            ParsedMessage(
                role="system" if message.role == "developer" else message.role,
                text=message.text,
                thought=thought,
                calls=tuple((c.function.name, c.arguments) for c in message.tool_calls),
            )
        )
    return ParsedPrompt(
        messages=tuple(messages),
        tools=frozenset(tool.name for tool in conversation.tools),
    )


def difference(actual: ParsedPrompt, expected: ParsedPrompt) -> str | None:
    """Return the first difference; None for none."""
    if actual.tools != expected.tools:
        return f"declared tools: {sorted(actual.tools)}, not {sorted(expected.tools)}"
    pairs = zip(actual.messages, expected.messages, strict=False)
    for index, (got, want) in enumerate(pairs):
        if got != want:
            return f"message {index}: reads {got}, not {want}"
    if len(actual.messages) != len(expected.messages):
        return f"{len(actual.messages)} messages, not {len(expected.messages)}"
    return None
