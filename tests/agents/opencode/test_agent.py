import json
from dataclasses import replace

import pytest

from llamatrix.agents.context7 import context7_server
from llamatrix.agents.opencode.agent import OpenCode
from llamatrix.agents.protocol import Action, Edit, LookUp, McpServer, Read, Run, Write
from llamatrix.errors import MeasureError
from llamatrix.proxy.call import CallKind
from llamatrix.proxy.chat_completions import read_request
from llamatrix.proxy.tool_uses import ObservedUse
from llamatrix.sandbox.spec import HOME

ENDPOINT = "http://127.0.0.1:8099"
NEW = OpenCode(
    version="1.18.33", model="qwen35-27b", context_tokens=65_536, output_tokens=8_192
)
OLD = replace(NEW, version="1.3.2")
CONFIG = ".config/opencode/opencode.json"
HEADERS = {"user-agent": "opencode/1.3.2 ai-sdk/provider-utils/3.0.20"}
MAIN_TOOLS = ("bash", "read", "task", "todowrite")
"""Some of what the main agents of 1.3.2 and 1.18.33 were seen to offer."""
SUBAGENT_TOOLS = ("bash", "read")
TITLE = "You are a title generator. You output ONLY a thread title. Nothing else."
COMPACTION = {
    "1.3.2": "You are a helpful AI assistant tasked with summarizing conversations.",
    "1.18.33": "You are an anchored context summarization assistant for coding sessions.",
}


def config(agent: OpenCode) -> dict[str, object]:
    found: dict[str, object] = json.loads(agent.files(ENDPOINT)[CONFIG])
    return found


def provider(agent: OpenCode) -> dict[str, object]:
    providers = config(agent)["provider"]
    assert isinstance(providers, dict)
    found: dict[str, object] = providers["local"]
    return found


@pytest.mark.parametrize("agent", [OLD, NEW])
def test_config_allows_everything_and_shares_nothing(agent: OpenCode) -> None:
    permission = config(agent)["permission"]
    assert isinstance(permission, dict)
    assert set(permission.values()) == {"allow"}
    assert "*" in permission
    assert config(agent)["share"] == "disabled"
    assert config(agent)["autoupdate"] is False


@pytest.mark.parametrize("agent", [OLD, NEW])
def test_config_sets_limits_and_leaves_sampling_to_the_server(agent: OpenCode) -> None:
    models = provider(agent)["models"]
    assert isinstance(models, dict)
    model = models["qwen35-27b"]
    assert model["limit"] == {"context": 65_536, "output": 8_192}
    assert model["temperature"] is False
    assert "agent" not in config(agent)


def test_config_disables_the_timeouts_of_each_version() -> None:
    new, old = provider(NEW)["options"], provider(OLD)["options"]
    assert isinstance(new, dict)
    assert isinstance(old, dict)
    assert new["headerTimeout"] is new["chunkTimeout"] is new["timeout"] is False
    assert "chunkTimeout" not in old  # false makes its configuration invalid


def test_lsp_is_off_on_or_the_versions_default() -> None:
    assert config(NEW)["lsp"] is False
    assert "lsp" not in config(replace(OLD, lsp=None))
    assert config(replace(NEW, lsp=None))["lsp"] is False
    assert config(replace(NEW, lsp=True))["lsp"] is True
    assert "OPENCODE_DISABLE_LSP_DOWNLOAD" in NEW.environment
    assert "OPENCODE_DISABLE_LSP_DOWNLOAD" not in replace(NEW, lsp=True).environment


def test_model_catalogue_is_empty_and_named_in_the_environment() -> None:
    path = NEW.environment["OPENCODE_MODELS_PATH"]
    (name,) = (name for name in NEW.files(ENDPOINT) if path == f"{HOME}/{name}")
    assert json.loads(NEW.files(ENDPOINT)[name]) == {}


def test_plugin_stub_names_opencodes_version() -> None:
    files = OLD.files(ENDPOINT)
    stub = {"@opencode-ai/plugin": "1.3.2"}
    assert json.loads(files[".config/opencode/package.json"])["dependencies"] == stub
    assert ".config/opencode/node_modules/" in files


def test_home_has_rules_skills_and_fix_if_configured() -> None:
    full = replace(NEW, todo_fix=True, rules="rule", skills={"docs": "skill"})
    extra = full.files(ENDPOINT).keys() - NEW.files(ENDPOINT).keys()
    assert extra == {
        ".config/opencode/plugins/todo-fix.js",
        ".config/opencode/AGENTS.md",
        ".config/opencode/skills/docs/SKILL.md",
    }


def test_mcp_tools_are_expected_and_configured() -> None:
    server = McpServer(name="context7", argv=("node",), tools=("query-docs",))
    agent = replace(NEW, mcp=(server,))
    assert agent.tools_expected - NEW.tools_expected == {"context7_query-docs"}
    servers = config(agent)["mcp"]
    assert isinstance(servers, dict)
    assert servers["context7"]["command"] == ["node"]


def test_resumed_session_gets_no_title() -> None:
    titled = replace(NEW, title="t")
    assert titled.argv(None)[-2:] == ("--title", "t")
    assert titled.argv("ses_1")[-2:] == ("--session", "ses_1")
    assert "--title" not in replace(NEW, title=None).argv(None)


def test_invalid_version_is_refused() -> None:
    with pytest.raises(MeasureError, match="'latest' is not a version"):
        replace(NEW, version="latest").files(ENDPOINT)


def test_context7_uses_the_stub_if_given() -> None:
    here = context7_server(api_url="http://127.0.0.1:8100")
    assert here.environment["CONTEXT7_API_URL"] == "http://127.0.0.1:8100"
    assert "CONTEXT7_API_URL" not in context7_server(api_url=None).environment
    offered = {"context7_resolve-library-id", "context7_query-docs"}
    assert replace(NEW, mcp=(here,)).tools_expected - NEW.tools_expected == offered


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
        (CallKind.MAIN, body(tools=MAIN_TOOLS), {}),
        (CallKind.SUBAGENT, body(tools=SUBAGENT_TOOLS), {}),
        (CallKind.SUBAGENT, body(tools=MAIN_TOOLS), {"x-parent-session-id": "ses_1"}),
        (CallKind.TITLE, body(TITLE), {}),
        (CallKind.COMPACTION, body(COMPACTION["1.3.2"]), {}),
        (CallKind.COMPACTION, body(COMPACTION["1.18.33"]), {}),
        (CallKind.OTHER, body(tools=MAIN_TOOLS), {"user-agent": "curl/8"}),
    ],
)
def test_request_is_classified_by_headers_tools_and_system_text(
    kind: CallKind, sent: bytes, more: dict[str, str]
) -> None:
    request = read_request(sent)
    assert request
    assert NEW.classify_request(HEADERS | more, request) is kind


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
def test_tool_result_tells_whether_the_tool_completed(
    tool: str, shown: str, result: str, *, completed: bool
) -> None:
    call = NEW.read_tool_use(use(tool, result, named=shown))
    assert (call.tool, call.output, call.completed) == (tool, result, completed)


def test_call_without_result_is_not_completed() -> None:
    assert not NEW.read_tool_use(use("bash", None)).completed


@pytest.mark.parametrize(
    "action",
    [
        Read(path="a.py"),
        Write(path="a.py", content="x = 1"),
        Edit(path="a.py", old="1", new="2"),
        Run(command="ls"),
        LookUp(tool="query-docs", arguments={"libraryId": "/encode/httpx"}),
    ],
)
def test_action_survives_translation_to_a_tool_call(action: Action) -> None:
    tool, arguments = NEW.tool_call(action)
    assert tool in replace(NEW, mcp=(context7_server(api_url=None),)).tools_expected
    assert NEW.read_tool_use(use(tool, "", json.dumps(arguments))).action == action


@pytest.mark.parametrize("tool", ["get-library-docs", "query-docs"])
def test_number_among_the_arguments_of_a_look_up_is_kept_as_text(tool: str) -> None:
    given = '{"context7CompatibleLibraryID": "/encode/httpx", "tokens": 5000}'
    call = NEW.read_tool_use(use(f"context7_{tool}", "", given))
    texts = {"context7CompatibleLibraryID": "/encode/httpx", "tokens": "5000"}
    assert call.action == LookUp(tool=tool, arguments=texts)


def use(
    tool: str, result: str | None, arguments: str = "{}", named: str = ""
) -> ObservedUse:
    return ObservedUse(
        tool=tool,
        arguments=arguments,
        result=result,
        named=named or tool,
        begun_s=1,
        ended_s=2,
    )
