"""Pi's configuration, events, requests and tools, on lines that Pi 1.6.0 printed."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from llamatrix.agents.pi.agent import Pi
from llamatrix.agents.pi.install import unfit_node
from llamatrix.agents.protocol import Action, Edit, LookUp, McpServer, Read, Run, Write
from llamatrix.proxy.call import CallKind
from llamatrix.proxy.chat_completions import ChatRequest, Message
from llamatrix.proxy.tool_uses import ObservedUse

SERVER = McpServer(name="context7", argv=("node", "c7.js"), tools=("query-docs",))
AGENT = Pi(
    version="1.6.0",
    model="m",
    context_tokens=8192,
    output_tokens=512,
    mcp=(SERVER,),
    rules="Look it up.",
)
SESSION = '{"type":"session","version":3,"id":"01a2","cwd":"/trial/work"}'
ANSWER = (
    '{"type":"message_end","message":{"role":"assistant","content":[],"usage":'
    '{"input":50,"output":7},"stopReason":"%s"%s}}'
)
UPDATE = '{"type":"message_update","assistantMessageEvent":{"type":"text_delta"}}'
DOWN = "Connection error.: connect ECONNREFUSED 127.0.0.1:8099"


def use(tool: str, arguments: str, result: str | None) -> ObservedUse:
    return ObservedUse(
        tool=tool, arguments=arguments, result=result, begun_s=0, ended_s=1
    )


def test_configuration_retries_and_compacts_nothing() -> None:
    files = AGENT.files("http://127.0.0.1:8099")
    settings = json.loads(files[".pi/agent/settings.json"])
    assert settings["compaction"] == {"enabled": False}
    assert settings["retry"]["enabled"] is False
    assert settings["retry"]["provider"]["maxRetries"] == 0
    provider = json.loads(files[".pi/agent/models.json"])["providers"]["local"]
    assert provider["baseUrl"] == "http://127.0.0.1:8099/v1"
    assert provider["models"][0]["contextWindow"] == 8192 + 4096, (
        "its margin, which Pi keeps free"
    )
    servers = json.loads(files[".pi/agent/mcp.json"])["mcpServers"]
    assert servers["context7"]["exposure"] == "direct"
    assert files[".pi/agent/AGENTS.md"] == b"Look it up."
    assert "mcp__context7__query_docs" in AGENT.tools_expected


def test_session_is_resumed_by_its_id() -> None:
    assert "--session" not in AGENT.argv(None)
    assert AGENT.argv("01a2")[-2:] == ("--session", "01a2")


def test_a_small_model_is_offered_less() -> None:
    small = replace(AGENT, tools=("bash", "write"), system_prompt="Be brief.", mcp=())
    argv = small.argv(None)
    assert argv[argv.index("--tools") + 1] == "bash,write"
    argv = replace(small, mcp=(SERVER,)).argv(None)
    assert argv[argv.index("--tools") + 1] == "bash,mcp__context7__query_docs,write"
    assert argv[argv.index("--system-prompt") + 1] == "Be brief."
    assert "--system-prompt" not in AGENT.argv(None)
    assert "--tools" not in AGENT.argv(None), "a later tool of Pi's own is offered too"
    assert small.tools_expected == {"bash", "write"}
    assert small.first_prompt_tokens < AGENT.first_prompt_tokens


@pytest.mark.parametrize(
    ("reason", "more", "errors"),
    [
        ("stop", "", ()),
        ("length", "", ()),
        ("error", f',"errorMessage":"{DOWN}"', (DOWN,)),
    ],
)
def test_last_stop_reason_is_read_whatever_the_exit_code(
    reason: str, more: str, errors: tuple[str, ...]
) -> None:
    lines = (SESSION, ANSWER % ("toolUse", ""), ANSWER % (reason, more), '{"type":"me')
    events = AGENT.parse_events(lines)
    assert (events.session_id, events.finish) == ("01a2", reason)
    assert events.errors == errors


def test_lines_that_repeat_the_conversation_are_dropped() -> None:
    assert AGENT.keeps_event(SESSION)
    assert AGENT.keeps_event(ANSWER % ("stop", ""))
    assert AGENT.keeps_event("a warning of node")
    assert not AGENT.keeps_event(UPDATE)
    assert not AGENT.keeps_event('{"type":"tool_execution_update","toolCallId":"c"}')
    assert not AGENT.keeps_event('{"type":"agent_end","messages":[]}')


def test_compaction_and_foreign_calls_are_told_apart() -> None:
    system = Message(role="system", content="You are a context summarization assistant")
    pi = {"user-agent": "pi/1.6.0 (linux; node/v24.19.0; x64)"}
    compaction = ChatRequest(messages=(system,))
    assert AGENT.classify_request(pi, compaction) is CallKind.COMPACTION
    assert AGENT.classify_request(pi, ChatRequest()) is CallKind.MAIN
    assert AGENT.classify_request({}, ChatRequest()) is CallKind.OTHER


@pytest.mark.parametrize(
    "action",
    [
        Read(path="a.py"),
        Write(path="a.py", content="x\n"),
        Edit(path="a.py", old="x", new="y", more=(("z", "w"),)),
        Run(command="ls"),
        LookUp(tool="query-docs", arguments={"libraryId": "/encode/httpx"}),
    ],
)
def test_action_survives_the_way_through_its_tool_call(action: Action) -> None:
    tool, arguments = AGENT.tool_call(action)
    assert AGENT.read_tool_use(use(tool, json.dumps(arguments), "")).action == action


def test_number_among_the_arguments_of_a_look_up_is_kept_as_text() -> None:
    tool, given = AGENT.tool_call(
        LookUp(tool="query-docs", arguments={"libraryId": "/a"})
    )
    call = AGENT.read_tool_use(use(tool, json.dumps({**given, "tokens": 5000}), ""))
    assert call.action == LookUp(
        tool="query-docs", arguments={"libraryId": "/a", "tokens": "5000"}
    )


@pytest.mark.parametrize(
    ("tool", "arguments", "result", "exit_code"),
    [
        ("bash", '{"command":"x"}', "no\n\n\nCommand exited with code 3", 3),
        ("bash", '{"command":"x"}', "yes\n", 0),
    ],
)
def test_command_that_failed_has_completed(
    tool: str, arguments: str, result: str, exit_code: int
) -> None:
    call = AGENT.read_tool_use(use(tool, arguments, result))
    assert call.completed
    assert call.exit_code == exit_code


@pytest.mark.parametrize(
    ("tool", "arguments", "result"),
    [
        ("bash", '{"command":"x"}', "\n\nCommand timed out after 5 seconds"),
        ("bash", '{"command": ', 'Invalid arguments for tool "bash": x'),
        ("bash", '{"cmd":1}', 'Validation failed for tool "bash":\n'),
        ("frob", "{}", "Tool frob not found"),
        ("read", '{"path":"x"}', "ENOENT: no such file"),
        ("edit", '{"path":"x","edits":[]}', "Could not edit file: x."),
        ("write", '{"path":"x","content":""}', None),
    ],
)
def test_failure_of_a_tool_is_read_from_its_result(
    tool: str, arguments: str, result: str | None
) -> None:
    assert not AGENT.read_tool_use(use(tool, arguments, result)).completed


def test_old_node_is_refused(tmp_path: Path) -> None:
    node = tmp_path / "node"
    node.write_text("#!/bin/sh\necho v20.20.2\n")
    node.chmod(0o755)
    assert "v20.20.2 is too old: Pi needs 22.19" in (unfit_node(node) or "")
    node.write_text("#!/bin/sh\necho v22.19.0\n")
    assert unfit_node(node) is None
    assert "not found" in (unfit_node(None) or "")
