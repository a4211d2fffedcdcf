"""Tools are read from what the model asked for, and from what it was told."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.trials.replayed import SESSION, call

from llamatrix.proxy.call import Call, Trouble, read_calls
from llamatrix.proxy.request import Kind
from llamatrix.proxy.tool_uses import as_events, read_tool_uses
from llamatrix.trials.checks.transcript import read_transcript

Messages = list[dict[str, object]]
GO: Messages = [{"role": "user", "content": "Go."}]


def called(identity: str, tool: str, arguments: str = "{}") -> dict[str, object]:
    function = {"name": tool, "arguments": arguments}
    return {"id": identity, "type": "function", "function": function}


def told(identity: str, result: str, tool: str = "bash") -> Messages:
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
        kind: Kind = Kind.MAIN,
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

    def uses(self) -> Sequence[tuple[str, str | None, bool]]:
        uses = read_tool_uses(self.folder, self.calls)
        return [(use.tool, use.result, use.completed) for use in uses]


@pytest.fixture
def taped(tmp_path: Path) -> Taped:
    return Taped(tmp_path)


def test_a_captured_session_is_a_transcript(tmp_path: Path) -> None:
    uses = read_tool_uses(SESSION, read_calls(SESSION))
    assert [use.tool for use in uses] == ["write", "write", "bash"]
    assert all(use.completed for use in uses)
    (tmp_path / "log").write_bytes(as_events(uses))
    test, code, listing = read_transcript(tmp_path / "log")
    assert test.path == "/trial/work/test_add.py"
    assert test.content.startswith("from add import add")
    assert code.completed
    assert (listing.command, listing.output) == (
        "ls",
        "add.py\nseed.txt\ntest_add.py\n",
    )


def test_a_call_without_a_result_did_nothing(taped: Taped) -> None:
    taped.add(GO, called("a", "bash"), called("b", "read"))
    taped.add([*GO, *told("b", "text")])
    assert taped.uses() == [("bash", None, False), ("read", "text", True)]


def test_a_result_without_a_call_of_the_models_is_none(taped: Taped) -> None:
    taped.add([*GO, *told("a", "docs", "context7_query-docs")])
    taped.add(GO, called("b", "bash"), kind=Kind.OTHER)
    taped.add(GO, called("c", "bash"), trouble=Trouble.CUT)
    taped.add([*GO, *told("b", "x"), *told("c", "x")])
    assert taped.uses() == []


def test_the_first_result_of_a_call_counts(taped: Taped) -> None:
    taped.add(GO, called("a", "bash"))
    taped.add([*GO, *told("a", "first")], called("a", "read"))
    taped.add([*GO, *told("a", "changed")])
    assert taped.uses() == [("bash", "first", True), ("read", "changed", True)]


def test_conversations_with_the_same_ids_are_told_apart(taped: Taped) -> None:
    other: Messages = [{"role": "user", "content": "Look."}]
    taped.add(GO, called("a", "task"))
    taped.add(other, called("a", "bash"), kind=Kind.SUBAGENT)
    taped.add([*other, *told("a", "inner")], kind=Kind.SUBAGENT)
    taped.add([*GO, *told("a", "outer")])
    assert taped.uses() == [("task", "outer", True), ("bash", "inner", True)]


def test_arguments_come_in_pieces_or_whole(taped: Taped) -> None:
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
    (use,) = read_tool_uses(taped.folder, taped.calls)
    assert use.arguments == '{"command":"ls"}'

    whole = {"tool_calls": [called("a", "bash"), called("b", "read")]}
    answer = json.dumps({"choices": [{"message": whole}]})
    (taped.folder / "0001.answer.txt").write_text(answer)
    (taped.folder / "0001.request.json").write_text('{"messages": []}')
    uses = read_tool_uses(taped.folder, taped.calls)
    assert [use.tool for use in uses] == ["bash", "read"]


@pytest.mark.parametrize(
    ("tool", "shown", "result", "completed"),
    [
        ("write", "write", "Wrote file successfully.", True),
        ("write", "write", "You must read file a before overwriting it.", False),
        ("edit", "edit", "Edit applied successfully.\n\nLSP errors", True),
        ("edit", "edit", "Could not find oldString in the file.", False),
        ("bash", "bash", "Error: in what the command itself printed", True),
        ("bash", "bash", "(no output)", True),
        ("bash", "bash", "The bash tool was called with invalid arguments: x", False),
        ("read", "read", "File not found: /trial/work/none.txt", False),
        ("nosuch", "invalid", "The arguments provided to the tool are", False),
        ("webfetch", "webfetch", "Request failed with status code: 404", False),
    ],
)
def test_a_result_says_whether_the_tool_did_its_work(
    taped: Taped, *, tool: str, shown: str, result: str, completed: bool
) -> None:
    taped.add(GO, called("a", tool))
    taped.add([*GO, *told("a", result, shown)])
    assert taped.uses() == [(tool, result, completed)]
