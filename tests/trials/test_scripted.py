import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import msgspec
import pytest

from llamatrix.agents.opencode.agent import OpenCode
from llamatrix.agents.protocol import Run
from llamatrix.errors import MeasureError
from llamatrix.proxy.chat_completions import ChatAnswer
from llamatrix.proxy.serving import address, loopback_listener, serving
from llamatrix.trials.checks.task import Script, Task, load_task
from llamatrix.trials.scripted import (
    Fault,
    Player,
    Step,
    Transcript,
    load_transcript,
    script_of,
)

CHAT = "/v1/chat/completions"
AGENT = OpenCode(version="1.3.2", model="m", context_tokens=9000, output_tokens=900)
TALK = Transcript(
    steps=(
        Step(
            reasoning="hm",
            text="first",
            actions=(Run(command="ls"),),
        ),
        Step(text="second", faults=(Fault.HTTP_500, Fault.CUT)),
    )
)
REAL = {
    "choices": [{"message": {"content": "qqq zzz"}, "finish_reason": "length"}],
    "usage": {"prompt_tokens": 90, "completion_tokens": 4, "total_tokens": 94},
    "timings": {"prompt_n": 90, "prompt_ms": 9, "predicted_n": 4, "predicted_ms": 8},
}


@contextmanager
def playing(
    answer: Callable[[httpx.Request], httpx.Response] | None = None,
) -> Iterator[tuple[Player, httpx.Client]]:
    transport = httpx.MockTransport(answer) if answer else None
    upstream = "http://real" if answer else None
    player = Player(
        transcript=TALK, agent=AGENT, upstream=upstream, transport=transport
    )
    with (
        loopback_listener() as listener,
        serving(player.app(), [listener]),
        httpx.Client(base_url=address(listener), trust_env=False) as client,
    ):
        client.headers["user-agent"] = "opencode/1.3.2"
        yield player, client


def request(answers: int = 0, **more: object) -> dict[str, object]:
    tool = {"type": "function", "function": {"name": "task"}}
    history = [{"role": "assistant", "content": "x"}] * answers
    messages = [{"role": "user", "content": "go"}, *history]
    asked = {"model": "m", "stream": True, "max_tokens": 8192, "tools": [tool]}
    return {**asked, "messages": messages, **more}


def streamed(got: httpx.Response) -> ChatAnswer:
    answer = ChatAnswer()
    answer.feed(got.content)
    return answer


def test_step_is_streamed_as_by_llama_server() -> None:
    with playing() as (_, client):
        got = client.post(CHAT, json=request())
    answer = streamed(got)
    assert answer.complete
    (call,) = answer.called
    assert (call.name, answer.finish_reason) == ("bash", "tool_calls")
    assert answer.timings is None
    assert json.loads(call.arguments)["command"] == "ls"


def test_history_selects_the_step() -> None:
    with playing() as (_, client):
        tries = [client.post(CHAT, json=request(1)).status_code]
        with pytest.raises(httpx.RemoteProtocolError):
            client.post(CHAT, json=request(1))
        last = client.post(CHAT, json=request(1))
        after = client.post(CHAT, json=request(2))
    assert tries == [500]
    assert "second" in last.text
    assert streamed(last).finish_reason == "stop"
    assert (after.status_code, "no step 3" in after.text) == (400, True)


def test_upstream_does_the_work_and_its_text_is_dropped() -> None:
    asked = []

    def answer(sent: httpx.Request) -> httpx.Response:
        asked.append(json.loads(sent.content))
        return httpx.Response(200, json=REAL)

    with playing(answer) as (_, client):
        got = client.post(CHAT, json=request())
    assert asked[0]["messages"] == request()["messages"]
    assert asked[0]["tools"] == request()["tools"]
    words = len("hm" + "first" + json.dumps(AGENT.tool_call(Run(command="ls"))[1]))
    assert asked[0]["max_tokens"] == words // 4
    assert asked[0]["stream"] is False
    assert "zzz" not in got.text
    played = streamed(got)
    assert played.timings
    assert (played.timings.prompt_n, played.prompt_tokens) == (90, 90)


def test_upstream_refusal_is_recorded_and_the_step_played() -> None:
    refusal = {"error": {"message": "Failed to parse input at pos 7"}}
    with playing(lambda _: httpx.Response(500, json=refusal)) as (player, client):
        got = client.post(CHAT, json=request())
    assert "first" in got.text
    assert streamed(got).timings is None
    assert len(player.refusals) == 1
    assert "Failed to parse input" in player.refusals[0]


def test_title_request_uses_no_step() -> None:
    system = {"role": "system", "content": "You are a title generator."}
    with playing() as (_, client):
        got = client.post(CHAT, json=request(messages=[system], tools=[]))
    assert "A scripted session" in got.text


def test_a_transcript_is_read_from_json(tmp_path: Path) -> None:
    path = tmp_path / "transcript.json"
    path.write_text('{"steps":[{"text":"hi","faults":["stall"]}]}')
    assert load_transcript(path).steps == (Step(text="hi", faults=(Fault.STALL,)),)
    path.write_text('{"steps":[{"txt":"hi"}]}')
    with pytest.raises(MeasureError, match="unknown field `txt`"):
        load_transcript(path)


@pytest.fixture
def task() -> Task:
    return load_task("gemini-images")


def with_script(task: Task, after: int) -> Task:
    early = Script(after=after, says="All done.")
    return msgspec.structs.replace(task, scripts={"early": early})


def test_only_the_last_step_of_the_solution_has_no_action(task: Task) -> None:
    steps = script_of(task, "solution").steps
    assert steps[-1].text
    assert [bool(step.actions) for step in steps] == [True] * (len(steps) - 1) + [False]


def test_second_try_inserts_an_early_last_answer(task: Task) -> None:
    steps = script_of(task, "second-try").steps
    solution = script_of(task, "solution").steps
    after, says = task.scripts["second-try"].after, task.scripts["second-try"].says
    assert steps[after] == Step(text=says)
    assert (*steps[:after], *steps[after + 1 :]) == solution


def test_unknown_script_name_gets_the_nearest_hint(task: Task) -> None:
    with pytest.raises(MeasureError, match=r"'second-tri'; did you mean 'second-try'"):
        script_of(task, "second-tri")


def test_script_after_the_last_step_is_refused(task: Task) -> None:
    count = len(script_of(task, "solution").steps)
    assert len(script_of(with_script(task, count - 1), "early").steps) == count + 1
    with pytest.raises(MeasureError, match=rf"scripts\.early\.after: {count} is not"):
        script_of(with_script(task, count), "early")
