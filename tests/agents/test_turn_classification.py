from dataclasses import replace

import msgspec
import pytest

from llamatrix.agents.opencode.agent import OpenCode
from llamatrix.agents.protocol import AgentEvents
from llamatrix.agents.turn_classification import (
    Stop,
    TurnObservation,
    compacts_for_ever,
    outcome_of,
)
from llamatrix.agents.turn_outcome import (
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
    is_the_models,
)
from llamatrix.proxy.call import Call, CallKind, Trouble
from llamatrix.report.views.troubles import cause_text
from llamatrix.sandbox.supervisor import Report


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
        "kind": CallKind.MAIN,
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


AGENT = OpenCode(
    version="1.18.33", model="m", context_tokens=65_536, output_tokens=8_192
)
UNKNOWN = AgentEvents(finish="unknown")
REJECTED = "! permission requested: x; auto-rejecting"
FULL = AgentEvents(errors=("E: disk is full",))
WELL = TurnObservation(
    agent=AGENT,
    stop=None,
    seconds=10,
    silent_s=3,
    report=report(),
    events=AgentEvents(),
    calls=finished("tool_calls", "stop"),
    tools_missing=(),
    tail=(),
)


def failed(
    trouble: Trouble,
    error: str = "e",
    status: int | None = None,
    kind: CallKind = CallKind.MAIN,
) -> TurnObservation:
    call = main_call(kind=kind, status=status, trouble=trouble, error=error)
    return replace(WELL, calls=(call,), stop=Stop.FAILURES)


@pytest.mark.parametrize(
    ("observation", "outcome"),
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
            replace(WELL, calls=finished("tool_calls"), events=FULL),
            DiskFull(error="E: disk is full"),
        ),
        (replace(WELL, events=FULL, tail=(REJECTED, "no")), Answered()),
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
def test_each_observation_has_its_outcome(
    observation: TurnObservation, outcome: TurnOutcome
) -> None:
    assert outcome_of(observation) == outcome


def test_repeated_subagent_failures_are_endpoint_failures() -> None:
    """We ended OpenCode for them: nobody else killed it."""
    observation = failed(Trouble.UNREACHABLE, kind=CallKind.SUBAGENT)
    ours = replace(observation, report=report(exit_code=-9))
    assert outcome_of(ours) == EndpointDown(error="e")
    theirs = replace(ours, stop=None)
    assert outcome_of(theirs) == AgentKilled(signal=9)


def test_timeout_during_endpoint_failures_is_an_endpoint_failure() -> None:
    observation = replace(failed(Trouble.FAILED, status=500), stop=Stop.TOTAL)
    assert outcome_of(observation) == EndpointFailed(status=500, error="e")
    left = replace(failed(Trouble.LEFT), stop=Stop.TOTAL)
    assert outcome_of(left) == TimedOut(after_s=10)


def test_error_followed_by_success_is_answered() -> None:
    calls = (*failed(Trouble.FAILED).calls, *finished("stop"))
    assert outcome_of(replace(WELL, calls=calls)) == Answered()


def test_infrastructure_failures_are_not_scored() -> None:
    assert is_the_models(Answered())
    assert is_the_models(RanAway(processes=300))
    assert not is_the_models(EndpointDown(error="e"))
    assert not is_the_models(ToolsMissing(tools=()))


@pytest.mark.parametrize(
    "observation",
    [
        replace(WELL, stop=Stop.SILENT_AGENT),
        replace(WELL, report=report(exit_code=-9)),
        replace(WELL, tail=("no",)),
        replace(WELL, tail=("! permission requested: x; auto-rejecting",)),
    ],
)
def test_agent_failures_are_scored_only_after_the_model_acted(
    observation: TurnObservation,
) -> None:
    calls = failed(Trouble.LEFT).calls
    reads = (msgspec.structs.replace(calls[0], tool_calls=("read", "context7_docs")),)
    acts = (msgspec.structs.replace(calls[0], tool_calls=("bash",)),)
    assert not is_the_models(outcome_of(replace(observation, calls=reads)))
    assert is_the_models(outcome_of(replace(observation, calls=acts)))
    assert is_the_models(outcome_of(replace(observation, acted_before=True)))


def test_missing_tools_are_not_caused_by_the_same_turn() -> None:
    acts = msgspec.structs.replace(failed(Trouble.LEFT).calls[0], tool_calls=("bash",))
    observation = replace(WELL, tools_missing=("c7_docs",), calls=(acts,))
    assert not is_the_models(outcome_of(observation))
    assert is_the_models(outcome_of(replace(observation, acted_before=True)))


def calls_of(*words: str) -> list[Call]:
    """Calls as `main 12974 33`: kind, tokens of the prompt, tokens of the answer."""
    return [
        Call(
            index=index,
            kind=CallKind(kind),
            path="/v1/chat/completions",
            begun_s=index,
            ended_s=index + 0.5,
            request_bytes=1,
            request_sha256="",
            answer_bytes=1,
            answer_sha256="",
            prompt_tokens=int(prompt),
            generated_tokens=int(answer),
        )
        for index, (kind, prompt, answer) in enumerate(word.split() for word in words)
    ]


_LOOP = ("main 12974 33", "compaction 938 8", "main 12924 25", "compaction 1765 8")


@pytest.mark.parametrize(
    ("words", "begins", "needed"),
    [
        (_LOOP[:2], True, 12974),
        (_LOOP, True, 12949),
        (_LOOP * 3, False, 12949),
        (_LOOP[:1], True, None),
        (_LOOP[:3], False, None),
        (("main 7000 100", "compaction 900 9") * 2, True, None),
        (("main 7000 2000", "compaction 900 9") * 4, True, 9000),
        (("main 7000 9", "main 7900 300", "compaction 900 9") * 4, False, None),
        ((), True, None),
    ],
)
def test_endless_compaction_is_detected(
    words: tuple[str, ...], needed: int | None, *, begins: bool
) -> None:
    found = compacts_for_ever(calls_of(*words), room_tokens=8000, first_turn=begins)
    assert (found and found.needed_tokens) == needed


@pytest.mark.parametrize("stop", [Stop.COMPACTIONS, Stop.TOTAL])
def test_endless_compaction_is_not_scored(stop: Stop) -> None:
    """anomalyco/opencode#31152: 71 compactions in 90 s were scored as a failure."""
    loop = compacts_for_ever(calls_of(*_LOOP), room_tokens=8000, first_turn=True)
    outcome = outcome_of(replace(WELL, stop=stop, compacted_for_ever=loop))
    assert isinstance(outcome, CompactedForEver)
    assert not is_the_models(outcome)
    assert "leaves 8000: the set-up's fault" in cause_text(outcome)


@pytest.mark.parametrize(
    ("observation", "said"),
    [
        (
            replace(WELL, calls=finished("unknown")),
            (
                "agent failed: exit code 0: the agent ended without a last word (finish "
                "`unknown`) and without an error"
            ),
        ),
        (
            replace(WELL, calls=(), events=UNKNOWN),
            (
                "agent failed: exit code 0: the agent ended without a last word (finish "
                "`unknown`) and without an error"
            ),
        ),
        (
            replace(WELL, calls=()),
            (
                "agent failed: exit code 0: the agent ended without a last word and without "
                "an error"
            ),
        ),
        (
            replace(
                WELL,
                calls=(),
                tail=("NotFoundError: NotFoundError", ' message: "Gone: x",', "},"),
            ),
            "agent failed: exit code 0: NotFoundError: NotFoundError Gone: x",
        ),
        (
            replace(WELL, stop=Stop.SILENT_AGENT, tail=("Error: no proxy", "}")),
            "agent hung: silent for 3.0 s: Error: no proxy",
        ),
        (
            replace(WELL, report=report(exit_code=-11), tail=("panic: oops", "at x")),
            "agent killed: signal 11: panic: oops",
        ),
    ],
)
def test_cause_text_shows_the_first_error(
    observation: TurnObservation, said: str
) -> None:
    assert cause_text(outcome_of(observation)) == said
