"""The tools an agent used, from what passed between it and the model.

A call of a tool stands in an answer of the model, its result in a later request of the
same conversation. Everything that the agent starts can write to the agent's standard
output, so nothing here is read from there.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from msgspec import Struct

from llamatrix.proxy.answer import Answer, CalledTool
from llamatrix.proxy.call import Call
from llamatrix.proxy.request import Kind, Message

_CONVERSATIONS = {Kind.MAIN, Kind.SUBAGENT}
_INVALID = "invalid"
"""What OpenCode puts into the conversation for a tool that does not exist, or whose
arguments are no JSON."""
_SUCCESS = {"write": "Wrote file successfully", "edit": "Edit applied successfully"}
"""How the result of a tool that changes files begins where it did."""
_FAILURES = (
    *("The arguments provided to the tool are invalid", "File not found: "),
    *("StatusCode: non 2xx", "Request failed with status code", "Error: "),
)
_REFUSED = "tool was called with invalid arguments"


class _Name(Struct, frozen=True):
    name: str = ""


class _Called(Struct, frozen=True):
    id: str = ""
    function: _Name = _Name()


class _Message(Message, frozen=True):
    tool_call_id: str | None = None
    tool_calls: tuple[_Called, ...] | None = None


class _Request(Struct, frozen=True):
    messages: tuple[_Message, ...] = ()
    stream: bool = False

    @property
    def conversation(self) -> str:
        """What tells conversations apart: how the user's side of them begins."""
        return next((m.text for m in self.messages if m.role == "user"), "")


class ObservedUse(Struct, frozen=True, kw_only=True):
    tool: str
    arguments: str
    """JSON as the model wrote it."""
    result: str | None
    """What the model was told; None where the conversation ended before."""
    begun_s: float
    """When its answer had come, in the clock of the recording."""
    ended_s: float | None
    """When its result was sent."""
    invalid: bool = False
    """Whether OpenCode found no such tool, or arguments that are no JSON."""

    @property
    def completed(self) -> bool:
        """Whether it did its work, by OpenCode's own words: a result has no status."""
        if self.result is None or self.invalid or _REFUSED in self.result[:100]:
            return False
        if self.tool in _SUCCESS:
            return self.result.startswith(_SUCCESS[self.tool])
        return self.tool == "bash" or not self.result.startswith(_FAILURES)


def read_tool_uses(recording: Path, calls: Iterable[Call]) -> tuple[ObservedUse, ...]:
    """Read every use of a tool, in the order in which the model asked for them."""
    going = _Going()
    kept = [call for call in calls if call.kind in _CONVERSATIONS]
    for call in sorted(kept, key=lambda call: call.begun_s):
        body = (recording / f"{call.index:04}.request.json").read_bytes()
        request = _read(body)
        going.take_results(request, call.begun_s)
        if call.trouble is None:
            answer = (recording / f"{call.index:04}.answer.txt").read_bytes()
            going.take_calls(request, _called(request, answer), call.ended_s)
    return tuple(going.uses)


def as_events(uses: Iterable[ObservedUse]) -> bytes:
    """Write uses as OpenCode's event log has them: what a transcript is read from."""
    return b"".join(msgspec.json.encode(_event(use)) + b"\n" for use in uses)


@dataclass(kw_only=True, slots=True)
class _Going:
    """Conversations read so far; calls wait for their results."""

    uses: list[ObservedUse] = field(default_factory=list)
    _waiting: dict[tuple[str, str], int] = field(default_factory=dict)
    """Places in `uses`, by conversation and by the call's id."""

    def take_calls(
        self, request: _Request, called: Iterable[CalledTool], at_s: float
    ) -> None:
        for each in called:
            self._waiting[request.conversation, each.id] = len(self.uses)
            self.uses.append(
                ObservedUse(
                    tool=each.name,
                    arguments=each.arguments,
                    result=None,
                    begun_s=at_s,
                    ended_s=None,
                )
            )

    def take_results(self, request: _Request, at_s: float) -> None:
        """Only the first result counts: later ones may be shortened, or another's."""
        names = {
            called.id: called.function.name
            for message in request.messages
            for called in message.tool_calls or ()
        }
        for message in request.messages:
            key = (request.conversation, message.tool_call_id or "")
            if message.role != "tool" or key not in self._waiting:
                continue
            place = self._waiting.pop(key)
            self.uses[place] = msgspec.structs.replace(
                self.uses[place],
                result=message.text,
                ended_s=at_s,
                invalid=names.get(key[1]) == _INVALID,
            )


def _read(body: bytes) -> _Request:
    try:
        return msgspec.json.decode(body, type=_Request)
    except (msgspec.MsgspecError, RecursionError):
        return _Request()


def _called(request: _Request, body: bytes) -> tuple[CalledTool, ...]:
    answer = Answer()
    if request.stream:
        answer.feed(body)
    else:
        answer.read(body)
    return answer.called


def _event(use: ObservedUse) -> dict[str, object]:
    result = use.result or ""
    state: dict[str, object] = {
        "status": "completed" if use.completed else "error",
        "input": _json(use.arguments),
        "output" if use.completed else "error": result,
        "time": {"start": use.begun_s * 1000, "end": (use.ended_s or 0) * 1000},
    }
    name = _INVALID if use.invalid else use.tool
    return {"type": "tool_use", "part": {"type": "tool", "tool": name, "state": state}}


def _json(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return {}
