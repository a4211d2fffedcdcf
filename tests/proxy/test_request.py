import json

import pytest

from llamatrix.proxy.request import Kind, kind_of, read_request

CHAT = "/v1/chat/completions"
AGENT = {"user-agent": "opencode/1.3.2 ai-sdk/provider-utils/3.0.20"}
MAIN_TOOLS = ("bash", "read", "task", "todowrite")
"""Some of what the main agents of 1.3.2 and 1.18.33 were seen to offer."""
SUBAGENT_TOOLS = ("bash", "read")
TITLE = "You are a title generator. You output ONLY a thread title. Nothing else."
COMPACTION = {
    "1.3.2": "You are a helpful AI assistant tasked with summarizing conversations.",
    "1.18.33": "You are an anchored context summarization assistant for coding sessions.",
}


def body(system: str = "You are opencode", tools: tuple[str, ...] = ()) -> bytes:
    offered = [{"type": "function", "function": {"name": name}} for name in tools]
    messages = [
        {"role": "system", "content": system},
        {"role": "user", "content": [{"type": "text", "text": "go"}]},
        {"role": "assistant", "content": None, "tool_calls": []},
    ]
    return json.dumps({"messages": messages, "tools": offered}).encode()


@pytest.mark.parametrize(
    ("kind", "sent", "more"),
    [
        (Kind.MAIN, body(tools=MAIN_TOOLS), {}),
        (Kind.SUBAGENT, body(tools=SUBAGENT_TOOLS), {}),
        (Kind.SUBAGENT, body(tools=MAIN_TOOLS), {"x-parent-session-id": "ses_1"}),
        (Kind.TITLE, body(TITLE), {}),
        (Kind.COMPACTION, body(COMPACTION["1.3.2"]), {}),
        (Kind.COMPACTION, body(COMPACTION["1.18.33"]), {}),
        (Kind.OTHER, body(tools=MAIN_TOOLS), {"user-agent": "curl/8"}),
        (Kind.OTHER, b"no json", {}),
    ],
)
def test_a_call_is_known_by_what_it_says(
    kind: Kind, sent: bytes, more: dict[str, str]
) -> None:
    assert kind_of(CHAT, AGENT | more, read_request(sent)) is kind


def test_another_path_is_no_call_of_the_agent() -> None:
    assert kind_of("/v1/models", AGENT, read_request(body())) is Kind.OTHER


def test_a_request_tells_its_tools_and_how_far_it_has_come() -> None:
    read = read_request(body(tools=MAIN_TOOLS))
    assert read
    assert (read.tool_names, read.answers_given) == (MAIN_TOOLS, 1)
    assert [message.text for message in read.messages] == ["You are opencode", "go", ""]
