"""Which part of a conversation holds how many tokens, in the manner of tokenscope.

Counted on the last request of the main agent, which carries the whole conversation,
with the server's own tokenizer; the template's markup between the parts is in none.
"""

from collections.abc import Callable, Iterable

import msgspec
from msgspec import Raw, Struct

from llamatrix.proxy.request import Message


class Breakdown(Struct, frozen=True, kw_only=True):
    """Tokens by where they come from."""

    system: int
    tools: int
    """The definitions of the tools offered, as JSON."""
    user: int
    assistant: int
    """What the model said, its tool calls included."""
    reasoning: int
    tool_results: int

    @property
    def total(self) -> int:
        return sum(getattr(self, name) for name in self.__struct_fields__)


class _Said(Message, frozen=True):
    reasoning_content: str | None = None
    tool_calls: Raw = Raw()


class _Request(Struct, frozen=True):
    messages: tuple[_Said, ...] = ()
    tools: Raw = Raw()


def breakdown(request: bytes, count: Callable[[str], int]) -> Breakdown:
    """Split a recorded chat completion request; `count` counts tokens of a text."""
    read = msgspec.json.decode(request, type=_Request)

    def counted(*roles: str) -> int:
        said_by = (said for said in read.messages if said.role in roles)
        return _count((said.text for said in said_by), count)

    called = (bytes(said.tool_calls).decode() for said in read.messages)
    thought = (said.reasoning_content or "" for said in read.messages)
    return Breakdown(
        system=counted("system", "developer"),
        tools=_count([bytes(read.tools).decode()], count),
        user=counted("user"),
        assistant=counted("assistant") + _count(called, count),
        reasoning=_count(thought, count),
        tool_results=counted("tool"),
    )


def _count(texts: Iterable[str], count: Callable[[str], int]) -> int:
    text = "\n".join(text for text in texts if text)
    return count(text) if text else 0
