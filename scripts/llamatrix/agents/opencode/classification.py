"""Names what came of a turn, from everything that was seen of it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

import msgspec

from llamatrix.agents.opencode.events import AUTO_REJECT_SIGN, Session
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
from llamatrix.proxy.call import Call, CallTimes, Trouble
from llamatrix.proxy.request import Kind
from llamatrix.reason import first_error
from llamatrix.sandbox.supervisor import Report

_DISK_SIGNS = ("disk is full", "ENOSPC", "No space left on device")
_OPENCODES = tuple(kind for kind in Kind if kind is not Kind.OTHER)
_COMPACTIONS = 3
_CONTEXT_SIGNS = ("exceed_context_size", "ContextOverflow")


_ACTING = {"bash", "write", "edit", "multiedit", "patch", "apply_patch", "task"}
"""OpenCode's tools that run commands or change files; `task` has them all."""


def has_acted(calls: Iterable[Call | CallTimes]) -> bool:
    """Whether the model asked for a tool with which it can break what is around it."""
    return any(_ACTING.intersection(call.tool_calls) for call in calls)


class Stop(StrEnum):
    """Why the watch over a turn ended it."""

    TOTAL = "total"
    SILENT_ENDPOINT = "silent endpoint"
    SILENT_AGENT = "silent agent"
    FAILURES = "failures"
    TOOLS = "tools"
    COMPACTIONS = "compactions"


@dataclass(frozen=True, kw_only=True, slots=True)
class TurnObservation:
    """All that is known when a turn is over."""

    stop: Stop | None
    seconds: float
    silent_s: float
    report: Report
    session: Session
    calls: Sequence[Call]
    tools_missing: tuple[str, ...]
    tail: tuple[str, ...]
    """The last lines of standard error."""
    compacted_for_ever: CompactedForEver | None = None
    acted_before: bool = False
    """Whether the model had acted in an earlier turn of the trial."""


def compacts_for_ever(
    calls: Sequence[Call], *, room_tokens: int, begins: bool
) -> CompactedForEver | None:
    """Tell a loop of compactions that no prompt can end.

    `begins` says that the session began with these calls: then its first prompt shows
    alone that none has room. Else three prompts right after a compaction must.
    """
    ended = [
        one
        for one in calls
        if one.kind is Kind.COMPACTION or (one.kind is Kind.MAIN and one.prompt_tokens)
    ]
    compactions = sum(one.kind is Kind.COMPACTION for one in ended)
    first = next((one.prompt_tokens or 0 for one in ended if one.kind is Kind.MAIN), 0)
    after = [
        (main.prompt_tokens or 0) + (main.generated_tokens or 0)
        for before, main in pairwise(ended)
        if before.kind is Kind.COMPACTION and main.kind is Kind.MAIN
    ]
    enough = len(after) >= _COMPACTIONS and min(after) > room_tokens
    if not compactions or not (enough or (begins and first > room_tokens)):
        return None
    return CompactedForEver(
        compactions=compactions,
        needed_tokens=min(after, default=first),
        room_tokens=room_tokens,
    )


def outcome_of(observation: TurnObservation) -> TurnOutcome:
    outcome = _outcome(observation)
    if isinstance(outcome, AfterTools):
        acted = observation.acted_before
        if not isinstance(
            outcome, ToolsMissing
        ):  # missing since the turn's first request
            acted = acted or has_acted(observation.calls)
        return msgspec.structs.replace(outcome, after_tools=acted)
    return outcome


def _outcome(observation: TurnObservation) -> TurnOutcome:
    if observation.tools_missing:
        return ToolsMissing(tools=observation.tools_missing)
    if observation.report["ran_away"]:
        return RanAway(processes=observation.report["most_processes"])
    return _stopped(observation)


def _stopped(observation: TurnObservation) -> TurnOutcome:
    match observation.stop:
        case Stop.TOTAL | Stop.COMPACTIONS:
            failing = _last_failure(observation, Kind.MAIN)
            timed_out = TimedOut(after_s=observation.seconds)
            return observation.compacted_for_ever or failing or timed_out
        case Stop.SILENT_ENDPOINT:
            return EndpointStalled(silent_s=observation.silent_s)
        case Stop.SILENT_AGENT:
            return AgentHung(
                silent_s=observation.silent_s, error=first_error(observation.tail)
            )
        case Stop.FAILURES | Stop.TOOLS | None:
            return _ended(observation)


def _ended(observation: TurnObservation) -> TurnOutcome:
    """What came of a turn that no clock ended."""
    # a subagent's calls may be the ones that failed again and again
    kinds = _OPENCODES if observation.stop is Stop.FAILURES else (Kind.MAIN,)
    if failed := _last_failure(observation, *kinds):
        return failed
    if observation.report["exit_code"] < 0:
        signal = -observation.report["exit_code"]
        return AgentKilled(signal=signal, error=first_error(observation.tail))
    return _last_word(observation)


def _last_word(observation: TurnObservation) -> TurnOutcome:
    """What came of a turn that OpenCode ended by itself.

    The model's last answer decides, as the tap saw it, where OpenCode ended well: its
    standard output and error are open to all that the agent starts.
    """
    finish = (
        _last_finish(observation.calls)
        if observation.report["exit_code"] == 0
        else None
    )
    if finish == "length":
        return CutShort()
    if finish == "stop":
        return Answered()
    if any(AUTO_REJECT_SIGN in line for line in observation.tail):
        return AskedPermission(tail=observation.tail)
    for line in (*observation.session.errors, *observation.tail):
        if any(sign in line for sign in _DISK_SIGNS):
            return DiskFull(error=line)
    return AgentFailed(
        exit_code=observation.report["exit_code"],
        errors=observation.session.errors,
        finish=observation.session.finish or finish or "",
        tail=observation.tail,
    )


def _last_finish(calls: Sequence[Call]) -> str | None:
    last = next((c for c in reversed(calls) if c.kind is Kind.MAIN), None)
    return last.finish_reason if last else None


def _last_failure(observation: TurnObservation, *kinds: Kind) -> TurnOutcome | None:
    """What the last call of these kinds failed by; None where it did not."""
    last = next((c for c in reversed(observation.calls) if c.kind in kinds), None)
    if last and last.trouble and last.trouble is not Trouble.LEFT:
        return _failed_call(last)
    return None


def _failed_call(call: Call) -> TurnOutcome:
    if any(sign in call.error for sign in _CONTEXT_SIGNS):
        return ContextFull(error=call.error)
    if call.trouble is Trouble.UNREACHABLE:
        return EndpointDown(error=call.error)
    if call.trouble is Trouble.CUT:
        return EndpointDied(error=call.error)
    return EndpointFailed(status=call.status, error=call.error)
