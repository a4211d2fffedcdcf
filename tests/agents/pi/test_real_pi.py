"""Pi itself, in the real sandbox, against a scripted model."""

from dataclasses import replace
from pathlib import Path

import pytest
from tests.agents.opencode.playing import (
    DONE,
    SOON,
    Stage,
    commands,
    ran,
    script,
    wrote,
)
from tests.shipped import ROOT, shipped_lock
from tests.trials.trying import Arena, states

from llamatrix.agents.pi.agent import Pi
from llamatrix.agents.pi.install import install_pi
from llamatrix.agents.protocol import Edit
from llamatrix.agents.turn_outcome import (
    AgentKilled,
    Answered,
    ContextFull,
    EndpointDied,
    EndpointDown,
    EndpointFailed,
    TurnOutcome,
)
from llamatrix.project import find_project
from llamatrix.provision.npm import node_program
from llamatrix.provision.programs import find_bwrap
from llamatrix.proxy.serving import address, loopback_listener, serving
from llamatrix.sandbox.spec import SandboxSpec
from llamatrix.trials.checks.task import load_task
from llamatrix.trials.scripted import Fault, OwnCall, Step, script_of
from llamatrix.trials.trial_result import Correct
from llamatrix.trials.workspace import begin_files

pytestmark = [pytest.mark.slow, pytest.mark.network]
NOBODY = "http://127.0.0.1:9"


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    cache = find_project().cache
    locked = shipped_lock().pi["current"]
    installed = install_pi("current", locked, root=ROOT, cache=cache)
    node = node_program()
    assert node
    seed = tmp_path / "seed"
    seed.mkdir()
    agent = Pi(
        version=locked.version,
        model="scripted",
        context_tokens=65_536,
        output_tokens=8_192,
    )
    return Stage(
        folder=tmp_path,
        agent=agent,
        sandbox=SandboxSpec(
            bwrap=find_bwrap(cache), tools={"node": node}, shown=installed.shown
        ),
        files=begin_files(seed, tmp_path / "start.tar"),
    )


def test_second_turn_continues_the_session_of_the_first(stage: Stage) -> None:
    talk = script(
        Step(reasoning="A file.", text="Now.", actions=(wrote("a.txt", "one\n"),)),
        Step(actions=(Edit(path="a.txt", old="one", new="two"),)),
        Step(
            actions=(
                OwnCall(tool="frob"),
                OwnCall(tool="bash", raw_arguments='{"command": "touch x'),
            )
        ),
        Step(actions=(ran("curl -s http://127.0.0.1:8099/v1/models"),)),
        Step(actions=(ran("setsid sleep 300 >/dev/null 2>&1 & exit 3"),)),
        DONE,
        *commands("ls; cat a.txt").steps,
    )
    first = stage.play("Write a file.", talk)
    assert first.outcome == Answered()
    calls = first.tool_calls
    assert [call.completed for call in calls] == [True, True, False, False, True, True]
    assert calls[-1].exit_code == 3
    assert first.left_running == ("sleep",)
    assert first.totals.other_calls == 1, "a call of another program is not passed on"
    second = stage.play("Read it.", talk)
    assert second.outcome == Answered()
    assert second.events.session_id == first.events.session_id
    assert second.tool_calls[0].output == "a.txt\ntwo\n", "nothing was repaired and run"


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        (Fault.HTTP_500, EndpointFailed),
        (Fault.HTTP_400, EndpointFailed),
        (Fault.CUT, EndpointDied),
    ],
)
def test_failure_of_the_model_is_named_though_pi_ends_well(
    stage: Stage, fault: Fault, outcome: type[TurnOutcome]
) -> None:
    run = stage.play("Go.", script(Step(text="half of it", always=fault)))
    assert isinstance(run.outcome, outcome)
    assert run.events.finish == "error"
    assert len(run.calls) == 1, "nothing is retried"


def test_endpoint_down_and_context_full_are_told_apart(stage: Stage) -> None:
    assert isinstance(stage.ask("Go.", NOBODY).outcome, EndpointDown)

    async def refuse(_scope: object, _receive: object, send: object) -> None:
        body = b'{"error":{"code":400,"type":"exceed_context_size_error"}}'
        start = {"type": "http.response.start", "status": 400, "headers": []}
        await send(start)  # type: ignore[operator]
        await send({"type": "http.response.body", "body": body})  # type: ignore[operator]

    with loopback_listener() as listener, serving(refuse, [listener]):
        assert isinstance(stage.ask("Go.", address(listener)).outcome, ContextFull)


def test_killed_agent_is_named_and_leaves_nothing(stage: Stage) -> None:
    stage.timeouts = replace(SOON, total_s=60)
    run = stage.play("Go.", commands("sleep 300 & kill -9 $PPID"))
    assert isinstance(run.outcome, AgentKilled)
    assert run.outcome.after_tools


@pytest.mark.parametrize("task_id", ["hello-file", "httpx-post"])
def test_a_scripted_trial_of_pi_is_correct(task_id: str, tmp_path: Path) -> None:
    arena = Arena(cache=find_project().cache, folder=tmp_path, task_id=task_id, pi=True)
    result = arena.play(script_of(load_task(task_id), "solution"))
    assert result.outcome == Correct(turn=1)
    assert set(states(result.turns[0].judgement).values()) == {"passed"}
