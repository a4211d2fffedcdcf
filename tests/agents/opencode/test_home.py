import json
from dataclasses import replace

import pytest

from llamatrix.agents.opencode.context7 import context7_server
from llamatrix.agents.opencode.home import Agent, McpServer, home_files
from llamatrix.agents.opencode.program import argv, environment, quirks_of
from llamatrix.errors import MeasureError
from llamatrix.sandbox.spec import HOME

NEW = Agent(
    version="1.18.33", model="qwen35-27b", context_tokens=65_536, output_tokens=8_192
)
OLD = replace(NEW, version="1.3.2")
CONFIG = ".config/opencode/opencode.json"


def config(agent: Agent) -> dict[str, object]:
    found: dict[str, object] = json.loads(home_files(agent)[CONFIG])
    return found


def provider(agent: Agent) -> dict[str, object]:
    providers = config(agent)["provider"]
    assert isinstance(providers, dict)
    found: dict[str, object] = providers["local"]
    return found


@pytest.mark.parametrize("agent", [OLD, NEW])
def test_nothing_can_ask_and_nothing_is_sent_home(agent: Agent) -> None:
    permission = config(agent)["permission"]
    assert isinstance(permission, dict)
    assert set(permission.values()) == {"allow"}
    assert "*" in permission
    assert config(agent)["share"] == "disabled"
    assert config(agent)["autoupdate"] is False


@pytest.mark.parametrize("agent", [OLD, NEW])
def test_the_limits_are_set_and_sampling_is_the_servers(agent: Agent) -> None:
    models = provider(agent)["models"]
    assert isinstance(models, dict)
    model = models["qwen35-27b"]
    assert model["limit"] == {"context": 65_536, "output": 8_192}
    assert model["temperature"] is False
    assert "agent" not in config(agent)


def test_pinned_sampling_is_sent_where_opencode_takes_it() -> None:
    pinned = replace(NEW, sampling={"temperature": 0.6, "top_p": 0.95, "top_k": 20})
    assert config(pinned)["agent"] == {"build": {"temperature": 0.6, "top_p": 0.95}}
    models = provider(pinned)["models"]
    assert isinstance(models, dict)
    assert models["qwen35-27b"]["options"] == {"top_k": 20}
    assert models["qwen35-27b"]["temperature"] is True


def test_a_slow_prefill_trips_no_clock_of_either_version() -> None:
    new, old = provider(NEW)["options"], provider(OLD)["options"]
    assert isinstance(new, dict)
    assert isinstance(old, dict)
    assert new["headerTimeout"] is new["chunkTimeout"] is new["timeout"] is False
    assert "chunkTimeout" not in old  # false makes its configuration invalid


def test_lsp_is_off_or_as_the_version_has_it() -> None:
    assert config(NEW)["lsp"] is False
    assert "lsp" not in config(replace(OLD, lsp=None))
    assert config(replace(NEW, lsp=None))["lsp"] is False
    assert config(replace(NEW, lsp=True))["lsp"] is True
    assert "OPENCODE_DISABLE_LSP_DOWNLOAD" in environment({}, lsp=False)
    assert "OPENCODE_DISABLE_LSP_DOWNLOAD" not in environment({}, lsp=True)


def test_the_catalogue_of_models_is_empty_and_where_it_is_looked_for() -> None:
    path = environment({}, lsp=False)["OPENCODE_MODELS_PATH"]
    (name,) = (name for name in home_files(NEW) if path == f"{HOME}/{name}")
    assert json.loads(home_files(NEW)[name]) == {}


def test_the_stub_that_keeps_opencode_from_npm_names_its_version() -> None:
    files = home_files(OLD)
    stub = {"@opencode-ai/plugin": "1.3.2"}
    assert json.loads(files[".config/opencode/package.json"])["dependencies"] == stub
    assert ".config/opencode/node_modules/" in files


def test_rules_skills_and_the_fix_are_there_where_asked_for() -> None:
    full = replace(NEW, todo_fix=True, rules="rule", skills={"docs": "skill"})
    extra = home_files(full).keys() - home_files(NEW).keys()
    assert extra == {
        ".config/opencode/plugins/todo-fix.js",
        ".config/opencode/AGENTS.md",
        ".config/opencode/skills/docs/SKILL.md",
    }


def test_the_tools_of_an_mcp_server_are_expected() -> None:
    server = McpServer(name="context7", argv=("node",), tools=("query-docs",))
    agent = replace(NEW, mcp=(server,))
    assert agent.tools_expected - NEW.tools_expected == {"context7_query-docs"}
    servers = config(agent)["mcp"]
    assert isinstance(servers, dict)
    assert servers["context7"]["command"] == ["node"]


def test_a_session_that_goes_on_is_given_no_title() -> None:
    first = argv(model="m", title="t", session=None)
    later = argv(model="m", title="t", session="ses_1")
    assert first[-2:] == ("--title", "t")
    assert later[-2:] == ("--session", "ses_1")
    assert "--title" not in argv(model="m", title=None, session=None)


def test_what_is_no_version_is_refused() -> None:
    with pytest.raises(MeasureError, match="'latest' is no version"):
        quirks_of("latest")


def test_context7_asks_our_back_end_only_where_there_is_one() -> None:
    here = context7_server(api_url="http://127.0.0.1:8100")
    assert here.environment["CONTEXT7_API_URL"] == "http://127.0.0.1:8100"
    assert "CONTEXT7_API_URL" not in context7_server(api_url=None).environment
    assert here.offered == ("context7_resolve-library-id", "context7_query-docs")
