"""What a prompt says once it is read back: the same for every family's format."""

from dataclasses import dataclass, field
from typing import Literal, Protocol

from llamatrix.measure.templates.conversation import Conversation, Json, Message


class FormatError(Exception):
    """A prompt is not in the family's format; the text says where."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Said:
    role: Literal["system", "user", "assistant", "tool"]
    text: str = ""
    thought: str = ""
    """Empty for none, and for a block with nothing in it."""
    calls: tuple[tuple[str, dict[str, Json]], ...] = ()
    """Name and arguments, in the order in which they were written."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    said: tuple[Said, ...]
    tools: frozenset[str] = field(default_factory=frozenset)
    """Names of the tools on offer."""


class Family(Protocol):
    """One family's format: how a prompt reads, and what its model would write."""

    name: str
    end: str
    """What the model writes when it has said all."""
    thoughts_with_calls_only: bool
    """Whether a thought is kept only where a call followed it."""

    def read(self, prompt: str, conversation: Conversation) -> Reading:
        """The whole prompt, the opening of the answer included, or FormatError."""
        ...

    def reply(self, message: Message, conversation: Conversation) -> str:
        """What the model writes after the prompt for this message to come of it."""
        ...

    def opening(self, conversation: Conversation) -> str:
        """How a prompt ends that asks for an answer in a new turn."""
        ...


def demanded(conversation: Conversation, family: Family) -> Reading:
    """What the format demands: thoughts of the current loop kept, former ones dropped."""
    said = []
    for place, message in enumerate(conversation.messages):
        current = place > conversation.last_user
        if family.thoughts_with_calls_only:
            current = current and bool(message.tool_calls)
        thought = (message.reasoning_content or "").strip() if current else ""
        said.append(
            Said(
                role="system" if message.role == "developer" else message.role,
                text=message.text,
                thought=thought,
                calls=tuple((c.function.name, c.arguments) for c in message.tool_calls),
            )
        )
    return Reading(
        said=tuple(said), tools=frozenset(tool.name for tool in conversation.tools)
    )


def difference(found: Reading, wanted: Reading) -> str | None:
    """The first thing that is not as demanded, in words."""
    if found.tools != wanted.tools:
        return f"tools offered: {sorted(found.tools)}, not {sorted(wanted.tools)}"
    for place, (got, want) in enumerate(zip(found.said, wanted.said, strict=False)):
        if got != want:
            return f"message {place}: reads {got}, not {want}"
    if len(found.said) != len(wanted.said):
        return f"{len(found.said)} messages, not {len(wanted.said)}"
    return None
