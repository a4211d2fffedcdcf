"""JSON nested without end, wherever an agent's or a model's JSON is read.

One bracket after the other ends a decoder by recursion, not as a syntax error.
"""

from pathlib import Path

import pytest

from llamatrix.agents.opencode.agent import OpenCode
from llamatrix.agents.opencode.events import parse
from llamatrix.agents.protocol import AgentEvents
from llamatrix.agents.trajectory import read_trajectory
from llamatrix.proxy import chat_completions
from llamatrix.proxy.chat_completions import ChatAnswer, read_request
from llamatrix.proxy.tool_uses import ObservedUse
from llamatrix.trials.trial_analysis import analyse

DEEP = "[" * 200_000
WHOLE = DEEP + "]" * 200_000
EVENTS = (
    f'{{"type":"x","foo":{DEEP}',
    f'{{"type":"x","foo":{WHOLE}}}',
    f'{{"type":"tool_use","part":{{"state":{{"input":{WHOLE}}}}}}}',
    f'{{"type":"tool_use","part":{{"state":{{"metadata":{WHOLE}}}}}}}',
)
CHAT = (
    f'{{"messages":[],"foo":{WHOLE}}}',
    f'{{"messages":[{{"role":"user","content":{WHOLE}}}]}}',
    f'{{"tools":{WHOLE}}}',
    f'{{"tools":[{{"function":{{"name":"x","parameters":{WHOLE}}}}}]}}',
)


@pytest.mark.parametrize("line", EVENTS)
def test_deeply_nested_event_is_skipped(line: str, tmp_path: Path) -> None:
    assert parse([line, '{"type":"text"}']) == AgentEvents()
    log = tmp_path / "events.jsonl"
    log.write_text(line)
    assert len(read_trajectory(log)) <= 1


@pytest.mark.parametrize("body", CHAT)
def test_deeply_nested_request_and_answer_are_skipped(body: str) -> None:
    read_request(body.encode())
    answer = ChatAnswer()
    answer.feed(f"data: {body}\n\ndata: [DONE]\n\n".encode())
    assert answer.complete


@pytest.mark.parametrize("body", CHAT)
def test_deeply_nested_request_has_no_breakdown(body: str, tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    calls.mkdir()
    (calls / "0001.request.json").write_text(body)
    (calls / "calls.jsonl").write_text(
        '{"index":1,"kind":"main","path":"/","begun_s":0,"ended_s":1,"request_bytes":1,'
        '"request_sha256":"","answer_bytes":1,"answer_sha256":""}\n'
    )
    found = analyse(
        None,
        workspace=None,
        calls=calls,
        wire_api=chat_completions,
        count_tokens=len,
        bwrap=None,
    )
    assert found.tokens or found.unread


@pytest.mark.parametrize("depth", [500, 900, 990, 1100, 200_000])
def test_deeply_nested_arguments_give_no_action(depth: int) -> None:
    use = ObservedUse(
        tool="bash",
        arguments="[" * depth + "]" * depth,
        begun_s=0,
        ended_s=1,
        result="",
    )
    agent = OpenCode(version="1.3.2", model="m", context_tokens=9, output_tokens=9)
    assert agent.read_tool_use(use).action is None
