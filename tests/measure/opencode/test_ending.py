from dataclasses import replace

import msgspec
import pytest

from llamatrix.measure.opencode.ending import Seen, Stop, outcome_of
from llamatrix.measure.opencode.events import parse
from llamatrix.measure.tap.call import Call, Trouble
from llamatrix.measure.tap.request import Kind
from llamatrix.measure.trial_outcome import (
    AgentFailed,
    AgentHung,
    AgentKilled,
    Answered,
    AskedPermission,
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
    is_the_models,
)
from llamatrix.measure.warden import Report


def report(*, exit_code: int = 0, ran_away: bool = False) -> Report:
    return Report(
        exit_code=exit_code,
        stopped=False,
        most_processes=9,
        ran_away=ran_away,
        left_running=[],
        left_out=[],
    )


def main_call(**known: object) -> Call:
    said = {
        "index": 1,
        "kind": Kind.MAIN,
        "path": "/v1/chat/completions",
        "begun_s": 0,
        "ended_s": 1,
        "request_bytes": 1,
        "request_sha256": "",
        "answer_bytes": 0,
        "answer_sha256": "",
        **known,
    }
    return msgspec.convert(said, type=Call)


def finished(*reasons: str) -> tuple[Call, ...]:
    return tuple(main_call(finish_reason=reason) for reason in reasons)


REJECTED = "! permission requested: x; auto-rejecting"
FULL = '{"type":"error","error":{"name":"E","data":{"message":"disk is full"}}}'
WELL = Seen(
    stop=None,
    seconds=10,
    silent_s=3,
    report=report(),
    session=parse(()),
    calls=finished("tool_calls", "stop"),
    tools_missing=(),
    tail=(),
)


def failed(
    trouble: Trouble,
    error: str = "e",
    status: int | None = None,
    kind: Kind = Kind.MAIN,
) -> Seen:
    call = main_call(kind=kind, status=status, trouble=trouble, error=error)
    return replace(WELL, calls=(call,), stop=Stop.FAILURES)


@pytest.mark.parametrize(
    ("seen", "outcome"),
    [
        (WELL, Answered()),
        (replace(WELL, calls=finished("length")), CutShort()),
        (replace(WELL, stop=Stop.TOTAL), TimedOut(after_s=10)),
        (replace(WELL, stop=Stop.SILENT_ENDPOINT), EndpointStalled(silent_s=3)),
        (replace(WELL, stop=Stop.SILENT_AGENT), AgentHung(silent_s=3)),
        (replace(WELL, report=report(ran_away=True)), RanAway(processes=9)),
        (replace(WELL, report=report(exit_code=-9)), AgentKilled(signal=9)),
        (replace(WELL, tools_missing=("c7_docs",)), ToolsMissing(tools=("c7_docs",))),
        (
            replace(WELL, calls=finished("tool_calls"), tail=(REJECTED,)),
            AskedPermission(tail=(REJECTED,)),
        ),
        (
            replace(WELL, report=report(exit_code=1), tail=("no",)),
            AgentFailed(exit_code=1, errors=(), tail=("no",)),
        ),
        (
            replace(WELL, calls=finished("tool_calls"), session=parse([FULL])),
            DiskFull(error="E: disk is full"),
        ),
        (replace(WELL, session=parse([FULL]), tail=(REJECTED, "no")), Answered()),
        (failed(Trouble.UNREACHABLE), EndpointDown(error="e")),
        (failed(Trouble.CUT), EndpointDied(error="e")),
        (
            failed(Trouble.FAILED, status=500),
            EndpointFailed(status=500, error="e"),
        ),
        (
            failed(Trouble.REFUSED, '{"type":"exceed_context_size_error"}', 400),
            ContextFull(error='{"type":"exceed_context_size_error"}'),
        ),
    ],
)
def test_every_ending_has_its_class(seen: Seen, outcome: TurnOutcome) -> None:
    assert outcome_of(seen) == outcome


def test_calls_of_a_subagent_that_failed_again_and_again_are_the_endpoints() -> None:
    """We ended OpenCode for them: nobody else killed it."""
    seen = failed(Trouble.UNREACHABLE, kind=Kind.SUBAGENT)
    ours = replace(seen, report=report(exit_code=-9))
    assert outcome_of(ours) == EndpointDown(error="e")
    theirs = replace(ours, stop=None)
    assert outcome_of(theirs) == AgentKilled(signal=9)


def test_a_clock_that_runs_out_over_a_failing_server_is_not_the_models() -> None:
    seen = replace(failed(Trouble.FAILED, status=500), stop=Stop.TOTAL)
    assert outcome_of(seen) == EndpointFailed(status=500, error="e")
    left = replace(failed(Trouble.LEFT), stop=Stop.TOTAL)
    assert outcome_of(left) == TimedOut(after_s=10)


def test_an_error_after_which_all_went_well_is_none() -> None:
    calls = (*failed(Trouble.FAILED).calls, *finished("stop"))
    assert outcome_of(replace(WELL, calls=calls)) == Answered()


def test_what_the_infrastructure_did_is_never_scored() -> None:
    assert is_the_models(Answered())
    assert is_the_models(RanAway(processes=300))
    assert not is_the_models(EndpointDown(error="e"))
    assert not is_the_models(ToolsMissing(tools=()))


@pytest.mark.parametrize(
    "seen",
    [
        replace(WELL, stop=Stop.SILENT_AGENT),
        replace(WELL, report=report(exit_code=-9)),
        replace(WELL, session=parse(()), tail=("no",)),
        replace(WELL, tools_missing=("c7_docs",)),
        replace(WELL, tail=("! permission requested: x; auto-rejecting",)),
    ],
)
def test_what_ends_a_turn_from_inside_is_the_models_once_it_has_acted(
    seen: Seen,
) -> None:
    calls = failed(Trouble.LEFT).calls
    reads = (msgspec.structs.replace(calls[0], tool_calls=("read", "context7_docs")),)
    acts = (msgspec.structs.replace(calls[0], tool_calls=("bash",)),)
    assert not is_the_models(outcome_of(replace(seen, calls=reads)))
    assert is_the_models(outcome_of(replace(seen, calls=acts)))
    assert is_the_models(outcome_of(replace(seen, acted_before=True)))
