"""The tools an agent used, from what passed between it and the model.

A tool call is in an answer of the model, its result in a later request of the same
conversation. The agent's standard output is no source: everything that the agent starts
can write to it.
"""

from collections.abc import Iterable
from pathlib import Path

import msgspec
from msgspec import Struct

from llamatrix.proxy.call import Call, CallKind
from llamatrix.proxy.wire_api import WireApi

_CONVERSATIONS = {CallKind.MAIN, CallKind.SUBAGENT}


class ObservedUse(Struct, frozen=True, kw_only=True):
    tool: str
    arguments: str
    """JSON as the model wrote it."""
    result: str | None
    """What the model was answered; None where the conversation ended before."""
    named: str = ""
    """The tool as the agent names it beside the result."""
    begun_s: float
    """When the call had arrived, in the clock of the recording."""
    ended_s: float | None
    """When its result was sent."""


def read_tool_uses(
    recording: Path, calls: Iterable[Call], wire_api: WireApi
) -> tuple[ObservedUse, ...]:
    """Return every use of a tool, in the order in which the model asked for them."""
    uses: list[ObservedUse] = []
    pending: dict[tuple[str, str], int] = {}
    """Positions in `uses`, by conversation and id of the call."""
    conversations = (call for call in calls if call.kind in _CONVERSATIONS)
    for call in sorted(conversations, key=lambda call: call.begun_s):
        body = (recording / f"{call.index:04}.request.json").read_bytes()
        request = wire_api.read_request(body)
        if request is None:
            continue
        conversation = request.first_user_text
        for result in request.tool_results:
            # only the first result counts: later ones may be shortened, or another's
            position = pending.pop((conversation, result.call_id), None)
            if position is not None:
                uses[position] = msgspec.structs.replace(
                    uses[position],
                    result=result.text,
                    named=result.name,
                    ended_s=call.begun_s,
                )
        if call.trouble is not None:
            continue
        answer = wire_api.new_answer()
        text = (recording / f"{call.index:04}.answer.txt").read_bytes()
        if request.stream:
            answer.feed(text)
        else:
            answer.read(text)
        for tool in answer.called:
            pending[conversation, tool.id] = len(uses)
            uses.append(
                ObservedUse(
                    tool=tool.name,
                    arguments=tool.arguments,
                    result=None,
                    begun_s=call.ended_s,
                    ended_s=None,
                )
            )
    return tuple(uses)
