"""Requests and answers of the chat completions API."""

import json
from collections.abc import Iterator
from typing import Any

from tests.shipped import CAPTURED

from llamatrix.proxy.chat_completions import breakdown, read_request
from llamatrix.proxy.wire_api import Breakdown

CALL = {"id": "1", "function": {"name": "bash", "arguments": "{}"}}
TALK = {
    "model": "m",
    "messages": [
        {"role": "system", "content": "s"},
        {"role": "user", "content": [{"type": "text", "text": "ask"}]},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "content": "result"},
        {"role": "assistant", "content": "said", "reasoning_content": "thought it"},
        {"role": "user", "content": "more"},
    ],
    "tools": [{"type": "function", "function": {"name": "bash"}}],
}


def split(request: object) -> Breakdown:
    """With a token for each character."""
    return breakdown(json.dumps(request).encode(), len)


def test_each_part_is_counted_where_it_belongs() -> None:
    called = len(json.dumps([CALL]))
    assert split(TALK) == Breakdown(
        system=1,
        tools=len(json.dumps(TALK["tools"])),
        user=len("ask\nmore"),
        assistant=len("said") + called,
        reasoning=len("thought it"),
        tool_results=len("result"),
    )


def test_empty_parts_are_no_tokens() -> None:
    silent = {"role": "assistant", "content": ""}
    talk = {"messages": [silent, silent, {"role": "tool", "content": ""}, silent]}
    assert split(talk).total == 0


def test_a_recorded_request_is_split_without_a_rest() -> None:
    folder = CAPTURED / "session" / "1.18.33"
    body = max(folder.glob("*.request.json")).read_bytes()
    parts: list[str] = []

    def count(text: str) -> int:
        parts.append(text)
        return 1

    found = breakdown(body, count)
    assert min(found.system, found.tools, found.user, found.tool_results) > 0
    for text in texts_of(json.loads(body)):
        assert any(text in part for part in parts), text[:80]


def texts_of(request: dict[str, Any]) -> Iterator[str]:
    """Every text that reaches the model, as the request holds it."""
    for message in request["messages"]:
        content = message.get("content") or ""
        if isinstance(content, list):
            yield from (part["text"] for part in content)
        elif content:
            yield content
        for call in message.get("tool_calls", ()):
            yield f'"id":"{call["id"]}"'
    for tool in request["tools"]:
        yield f'"name":"{tool["function"]["name"]}"'


def test_a_request_has_its_tools_and_the_number_of_answers() -> None:
    read = read_request(json.dumps(TALK).encode())
    assert read
    assert (read.tool_names, read.answers_given) == (("bash",), 2)
    assert (read.system_text, read.first_user_text) == ("s", "ask")
    assert [(r.name, r.text) for r in read.tool_results] == [("", "result")]


def test_invalid_request_is_none() -> None:
    assert read_request(b"no json") is None
    assert read_request(b'{"messages": 3}') is None
