"""Names the outcome of a turn, from everything that was observed of it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

import msgspec

from llamatrix.agents.protocol import Agent, AgentEvents
from llamatrix.agents.turn_outcome import (
    AfterTools,
    AgentFailed,
    AgentHung,
    AgentKilled,
    Answered,
    AskedPermission,
    CompactedForEver,
    ContextFull,
    CutShort,
    DiskFull,
    EndpointDied,
    EndpointDown,
    EndpointFailed,
    EndpointStalled,
    RanAway,
    TimedOut,
    ToolsMissing,
    TurnOutcome,
)
from llamatrix.proxy.call import Call, CallKind, CallTimes, Trouble
from llamatrix.reason import first_error
from llamatrix.sandbox.supervisor import Report

_DISK_SIGNS = ("disk is full", "ENOSPC", "No space left on device")
_AGENTS_OWN = tuple(kind for kind in CallKind if kind is not CallKind.OTHER)
_COMPACTIONS = 3
_CONTEXT_SIGNS = ("exceed_context_size", "ContextOverflow")


def has_acted(calls: Iterable[Call | CallTimes], acting_tools: frozenset[str]) -> bool:
    """Return whether the model called a tool that can break what is around it."""
    return any(acting_tools.intersection(call.tool_calls) for call in calls)


class Stop(StrEnum):
    """Why the harness ended a turn."""

    TOTAL = "total"
    SILENT_ENDPOINT = "silent endpoint"
    SILENT_AGENT = "silent agent"
    FAILURES = "failures"
    TOOLS = "tools"
    COMPACTIONS = "compactions"


@dataclass(frozen=True, kw_only=True, slots=True)
class TurnObservation:
    agent: Agent
    stop: Stop | None
    seconds: float
    silent_s: float
    report: Report
    events: AgentEvents
    calls: Sequence[Call]
    tools_missing: tuple[str, ...]
    tail: tuple[str, ...]
    """The last lines of standard error."""
    compacted_for_ever: CompactedForEver | None = None
    acted_before: bool = False
    """Whether the model had acted in an earlier turn of the trial."""


def compacts_for_ever(
    calls: Sequence[Call], *, room_tokens: int, first_turn: bool
) -> CompactedForEver | None:
    """Recognise a loop of compactions, in which no prompt will ever have room.

    Where the session began with these calls, its first prompt alone is proof. Otherwise
    three prompts right after a compaction must be too long.
    """
    ended = [
        call
        for call in calls
        if call.kind is CallKind.COMPACTION
        or (call.kind is CallKind.MAIN and call.prompt_tokens)
    ]
    compactions = sum(call.kind is CallKind.COMPACTION for call in ended)
    first = next((c.prompt_tokens or 0 for c in ended if c.kind is CallKind.MAIN), 0)
    after = [
        (main.prompt_tokens or 0) + (main.generated_tokens or 0)
        for before, main in pairwise(ended)
        if before.kind is CallKind.COMPACTION and main.kind is CallKind.MAIN
    ]
    enough = len(after) >= _COMPACTIONS and min(after) > room_tokens
    if not compactions or not (enough or (first_turn and first > room_tokens)):
        return None
    return CompactedForEver(
        compactions=compactions,
        needed_tokens=min(after, default=first),
        room_tokens=room_tokens,
    )


def outcome_of(turn: TurnObservation) -> TurnOutcome:
    outcome = _outcome(turn)
    if isinstance(outcome, AfterTools):
        acted = turn.acted_before
        if not isinstance(outcome, ToolsMissing):  # missing since the first request
            acted = acted or has_acted(turn.calls, turn.agent.acting_tools)
        return msgspec.structs.replace(outcome, after_tools=acted)
    return outcome


def _outcome(  # noqa: PLR0911  one for each cause
    turn: TurnObservation,
) -> TurnOutcome:
    if turn.tools_missing:
        return ToolsMissing(tools=turn.tools_missing)
    if turn.report["ran_away"]:
        return RanAway(processes=turn.report["most_processes"])
    match turn.stop:
        case Stop.TOTAL | Stop.COMPACTIONS:
            failed = _last_failure(turn, CallKind.MAIN)
            timed_out = TimedOut(after_s=turn.seconds)
            return turn.compacted_for_ever or failed or timed_out
        case Stop.SILENT_ENDPOINT:
            return EndpointStalled(silent_s=turn.silent_s)
        case Stop.SILENT_AGENT:
            return AgentHung(silent_s=turn.silent_s, error=first_error(turn.tail))
        case Stop.FAILURES | Stop.TOOLS | None:
            # a subagent's calls may be the ones that failed again and again
            repeated = turn.stop is Stop.FAILURES
            kinds = _AGENTS_OWN if repeated else (CallKind.MAIN,)
            if failed := _last_failure(turn, *kinds):
                return failed
    exit_code = turn.report["exit_code"]
    if exit_code < 0:
        return AgentKilled(signal=-exit_code, error=first_error(turn.tail))
    return _ended_by_itself(turn, exit_code)


def _ended_by_itself(turn: TurnObservation, exit_code: int) -> TurnOutcome:
    """Name the outcome of a turn that the agent program ended.

    Where it ended well the model's last answer decides, as the tap saw it: the agent's
    standard output and error are open to all that it starts.
    """
    last = _last_call(turn, CallKind.MAIN)
    finish = last.finish_reason if last and exit_code == 0 else None
    if finish == "length":
        return CutShort()
    if finish == "stop":
        return Answered()
    if asking := tuple(filter(turn.agent.asks_permission, turn.tail)):
        return AskedPermission(tail=asking)
    for line in (*turn.events.errors, *turn.tail):
        if any(sign in line for sign in _DISK_SIGNS):
            return DiskFull(error=line)
    return AgentFailed(
        exit_code=exit_code,
        errors=turn.events.errors,
        finish=turn.events.finish or finish or "",
        tail=turn.tail,
    )


def _last_call(turn: TurnObservation, *kinds: CallKind) -> Call | None:
    return next((call for call in reversed(turn.calls) if call.kind in kinds), None)


def _last_failure(turn: TurnObservation, *kinds: CallKind) -> TurnOutcome | None:
    """Return how the last call of these kinds failed; None where it did not."""
    call = _last_call(turn, *kinds)
    if call is None or call.trouble in {None, Trouble.LEFT}:
        return None
    if any(sign in call.error for sign in _CONTEXT_SIGNS):
        return ContextFull(error=call.error)
    if call.trouble is Trouble.UNREACHABLE:
        return EndpointDown(error=call.error)
    if call.trouble is Trouble.CUT:
        return EndpointDied(error=call.error)
    return EndpointFailed(status=call.status, error=call.error)
