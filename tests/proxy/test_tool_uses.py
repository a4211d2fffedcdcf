"""Tool uses are read from what the model called and what it was answered."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.trials.replayed import SESSION, call

from llamatrix.agents.opencode.agent import OpenCode
from llamatrix.agents.protocol import Run, Write
from llamatrix.agents.trajectory import read_trajectory, write_trajectory
from llamatrix.proxy import chat_completions
from llamatrix.proxy.call import Call, CallKind, Trouble, read_calls
from llamatrix.proxy.tool_uses import ObservedUse, read_tool_uses

Messages = list[dict[str, object]]
GO: Messages = [{"role": "user", "content": "Go."}]


def called(identity: str, tool: str, arguments: str = "{}") -> dict[str, object]:
    function = {"name": tool, "arguments": arguments}
    return {"id": identity, "type": "function", "function": function}


def answered(identity: str, result: str, tool: str = "bash") -> Messages:
    """How a conversation goes on after a tool was run."""
    return [
        {"role": "assistant", "content": "", "tool_calls": [called(identity, tool)]},
        {"role": "tool", "tool_call_id": identity, "content": result},
    ]


class Taped:
    """A recording that is written call by call."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.calls: list[Call] = []

    def add(
        self,
        messages: Messages,
        *tools: dict[str, object],
        kind: CallKind = CallKind.MAIN,
        trouble: Trouble | None = None,
    ) -> None:
        index = len(self.calls) + 1
        body = {"stream": True, "messages": messages}
        (self.folder / f"{index:04}.request.json").write_text(json.dumps(body))
        events = [
            {"choices": [{"delta": {"tool_calls": [{"index": number, **tool}]}}]}
            for number, tool in enumerate(tools)
        ]
        text = "".join(f"data: {json.dumps(event)}\n\n" for event in events)
        (self.folder / f"{index:04}.answer.txt").write_text(f"{text}data: [DONE]\n\n")
        self.calls.append(call(index, kind, trouble=trouble))

    def read(self) -> Sequence[ObservedUse]:
        return read_tool_uses(self.folder, self.calls, chat_completions)

    def uses(self) -> Sequence[tuple[str, str | None]]:
        return [(use.tool, use.result) for use in self.read()]


@pytest.fixture
def taped(tmp_path: Path) -> Taped:
    return Taped(tmp_path)


def test_a_captured_session_is_a_trajectory(tmp_path: Path) -> None:
    uses = read_tool_uses(SESSION, read_calls(SESSION), chat_completions)
    assert [use.tool for use in uses] == ["write", "write", "bash"]
    agent = OpenCode(version="1.18.33", model="m", context_tokens=1, output_tokens=1)
    calls = tuple(agent.read_tool_use(use) for use in uses)
    assert all(call.completed for call in calls)
    (tmp_path / "log").write_bytes(write_trajectory(calls))
    test, _, listing = read_trajectory(tmp_path / "log")
    assert isinstance(test.action, Write)
    assert test.action.path == "/trial/work/test_add.py"
    assert test.action.content.startswith("from add import add")
    assert listing.action == Run(command="ls")
    assert listing.output == "add.py\nseed.txt\ntest_add.py\n"


def test_a_call_without_a_result_has_none(taped: Taped) -> None:
    taped.add(GO, called("a", "bash"), called("b", "read"))
    taped.add([*GO, *answered("b", "text")])
    assert taped.uses() == [("bash", None), ("read", "text")]


def test_a_result_without_a_call_of_the_models_is_none(taped: Taped) -> None:
    taped.add([*GO, *answered("a", "docs", "context7_query-docs")])
    taped.add(GO, called("b", "bash"), kind=CallKind.OTHER)
    taped.add(GO, called("c", "bash"), trouble=Trouble.CUT)
    taped.add([*GO, *answered("b", "x"), *answered("c", "x")])
    assert taped.uses() == []


def test_the_first_result_of_a_call_counts(taped: Taped) -> None:
    taped.add(GO, called("a", "bash"))
    taped.add([*GO, *answered("a", "first")], called("a", "read"))
    taped.add([*GO, *answered("a", "changed")])
    assert taped.uses() == [("bash", "first"), ("read", "changed")]


def test_conversations_with_the_same_ids_are_reported_apart(taped: Taped) -> None:
    other: Messages = [{"role": "user", "content": "Look."}]
    taped.add(GO, called("a", "task"))
    taped.add(other, called("a", "bash"), kind=CallKind.SUBAGENT)
    taped.add([*other, *answered("a", "inner")], kind=CallKind.SUBAGENT)
    taped.add([*GO, *answered("a", "outer")])
    assert taped.uses() == [("task", "outer"), ("bash", "inner")]


def test_arguments_in_pieces_are_joined(taped: Taped) -> None:
    taped.add(GO)
    pieces: list[dict[str, object]] = [
        called("a", "bash", '{"comm'),
        {"function": {"arguments": 'and":"ls"}'}},
    ]
    chunks = [
        {"choices": [{"delta": {"tool_calls": [{"index": 0, **piece}]}}]}
        for piece in pieces
    ]
    text = "".join(f"data: {json.dumps(chunk)}\n" for chunk in chunks)
    (taped.folder / "0001.answer.txt").write_text(text)
    (use,) = taped.read()
    assert use.arguments == '{"command":"ls"}'

    whole = {"tool_calls": [called("a", "bash"), called("b", "read")]}
    answer = json.dumps({"choices": [{"message": whole}]})
    (taped.folder / "0001.answer.txt").write_text(answer)
    (taped.folder / "0001.request.json").write_text('{"messages": []}')
    uses = taped.read()
    assert [use.tool for use in uses] == ["bash", "read"]
