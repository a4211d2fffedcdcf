"""What a client sends: messages, tools and switches, in OpenAI's terms."""

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
    """An object, or the same as JSON text: clients send either."""


class ToolCall(Struct, frozen=True, kw_only=True):
    id: str
    function: Function
    type: str = "function"

    @property
    def arguments(self) -> dict[str, Json]:
        sent = self.function.arguments
        if isinstance(sent, str):
            read: dict[str, Json] = json.loads(sent)
            return read
        return sent


class Message(Struct, frozen=True, kw_only=True, omit_defaults=True):
    role: Role
    content: str | tuple[Text | Image, ...] | None = None
    reasoning_content: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None

    @property
    def text(self) -> str:
        """What is said, without what templates trim."""
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
        """The JSON-Schema type of one argument; None where nothing says it."""
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
        """Index of the last user message; -1 where there is none."""
        users = [i for i, said in enumerate(self.messages) if said.role == "user"]
        return users[-1] if users else -1

    def until(self, end: int) -> "Conversation":
        return msgspec.structs.replace(self, messages=self.messages[:end])

    def then(self, *messages: Message) -> "Conversation":
        return msgspec.structs.replace(self, messages=(*self.messages, *messages))

    def body(self) -> dict[str, object]:
        """As `/apply-template` and `/v1/chat/completions` take it."""
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
    """A call with its arguments as JSON text, as OpenAI's clients send them."""
    text = json.dumps(arguments, ensure_ascii=False)
    return ToolCall(id=f"call_{number}", function=Function(name=name, arguments=text))


def result(number: int, text: str) -> Message:
    return Message(role="tool", tool_call_id=f"call_{number}", content=text)


class FormatError(Exception):
    """A prompt is not in the family's format; the text says where."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ParsedMessage:
    role: Literal["system", "user", "assistant", "tool"]
    text: str = ""
    thought: str = ""
    """Empty for none, and for a block with nothing in it."""
    calls: tuple[tuple[str, dict[str, Json]], ...] = ()
    """Name and arguments, in the order in which they were written."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ParsedPrompt:
    said: tuple[ParsedMessage, ...]
    tools: frozenset[str] = frozenset()
    """Names of the tools on offer."""


class Family(Protocol):
    """One family's format: how a prompt reads, and what its model would write."""

    name: str
    end: str
    """What the model writes when it has said all."""
    thoughts_with_calls_only: bool
    """Whether a thought is kept only where a call followed it."""

    def read(self, prompt: str, conversation: Conversation) -> ParsedPrompt:
        """The whole prompt, the opening of the answer included, or FormatError."""
        ...

    def reply(self, message: Message, conversation: Conversation) -> str:
        """What the model writes after the prompt for this message to come of it."""
        ...

    def opening(self, conversation: Conversation) -> str:
        """How a prompt ends that asks for an answer in a new turn."""
        ...


def expected_prompt(conversation: Conversation, family: Family) -> ParsedPrompt:
    """What the format demands: thoughts of the current loop kept, former ones dropped."""
    said = []
    for place, message in enumerate(conversation.messages):
        current = place > conversation.last_user
        if family.thoughts_with_calls_only:
            current = current and bool(message.tool_calls)
        thought = (message.reasoning_content or "").strip() if current else ""
        said.append(
            ParsedMessage(
                role="system" if message.role == "developer" else message.role,
                text=message.text,
                thought=thought,
                calls=tuple((c.function.name, c.arguments) for c in message.tool_calls),
            )
        )
    return ParsedPrompt(
        said=tuple(said), tools=frozenset(tool.name for tool in conversation.tools)
    )


def difference(found: ParsedPrompt, wanted: ParsedPrompt) -> str | None:
    """The first thing that is not as demanded, in words."""
    if found.tools != wanted.tools:
        return f"tools offered: {sorted(found.tools)}, not {sorted(wanted.tools)}"
    for place, (got, want) in enumerate(zip(found.said, wanted.said, strict=False)):
        if got != want:
            return f"message {place}: reads {got}, not {want}"
    if len(found.said) != len(wanted.said):
        return f"{len(found.said)} messages, not {len(wanted.said)}"
    return None
