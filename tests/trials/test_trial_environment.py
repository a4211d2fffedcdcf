"""What an agent and its judge find around them, online and hermetic."""

from pathlib import Path

import pytest
from tests.trials.trying import files_with

from llamatrix.agents.context7 import FOLDER
from llamatrix.config.matrix import Network
from llamatrix.sandbox.spec import SandboxSpec
from llamatrix.trials.checks.task import load_task
from llamatrix.trials.stubs.serving import HOSTS, Services
from llamatrix.trials.trial_environment import (
    Tools,
    TrialEnvironment,
    hermetic_environment,
    online_environment,
)

IMAGES, POST = load_task("gemini-images"), load_task("httpx-post")
KEY = "the-users-own-key-0123"
SHARED = Services(
    context7=30001,
    packages=30002,
    bytecode=Path("/cache/bytecode"),
    pages_served=lambda: 0,
)


@pytest.fixture
def tools(tmp_path: Path) -> Tools:
    names = ("opencode", "rg", "node", "uv")
    return Tools(
        bwrap=Path("/usr/bin/bwrap"),
        programs={name: Path("/programs") / name for name in names},
        context7=tmp_path / "context7",
    )


def judged_in(environment: TrialEnvironment) -> SandboxSpec:
    assert environment.execution.sandbox
    return environment.execution.sandbox


def test_hermetic_environment_has_the_stubs_key_not_the_users(
    tools: Tools, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GEMINI_API_KEY", KEY)
    with hermetic_environment(IMAGES, tools, tmp_path, SHARED) as environment:
        around = environment.sandbox
        (key,) = environment.secrets
        assert around.environment["GEMINI_API_KEY"] == key != KEY
        assert KEY not in judged_in(environment).environment.values()
        assert set(around.hosts) == set(HOSTS)
        assert around.forwards[8101] == SHARED.context7
        assert around.forwards[8102] == SHARED.packages
        assert environment.context7_url == "http://127.0.0.1:8101"
        assert key not in repr(around)


def test_a_task_without_a_key_is_given_none(tools: Tools, tmp_path: Path) -> None:
    with hermetic_environment(POST, tools, tmp_path, SHARED) as environment:
        assert environment.secrets[0] not in str(
            environment.sandbox.environment.values()
        )


def test_judged_programs_lack_only_the_agents_own_tools(
    tools: Tools, tmp_path: Path
) -> None:
    with hermetic_environment(IMAGES, tools, tmp_path, SHARED) as environment:
        judged = judged_in(environment)
        assert set(judged.tools) == {"uv"}
        assert FOLDER not in judged.shown
        assert len(judged.shown) == 3, "the authority, our own programs, bytecode"
        assert sorted(judged.forwards) == [443, 8102, 8103]
        assert environment.execution.requests == str(tmp_path / "judged-requests.jsonl")
        assert environment.execution.agents_requests == str(tmp_path / "requests.jsonl")
        assert judged.network is Network.HERMETIC
        differing = set(environment.sandbox.environment.items()) - set(
            judged.environment.items()
        )
        assert {name for name, _ in differing} == {"GEMINI_API_KEY"}


def test_agent_scripts_and_tests_have_different_secret_keys(
    tools: Tools, tmp_path: Path
) -> None:
    with hermetic_environment(IMAGES, tools, tmp_path, SHARED) as environment:
        agents = environment.sandbox.environment["GEMINI_API_KEY"]
        judges = judged_in(environment).environment["GEMINI_API_KEY"]
        assert agents != judges
        beside = environment.execution.tests
        assert beside
        assert beside.sandbox
        tests = beside.sandbox.environment["GEMINI_API_KEY"]
        assert len({agents, judges, tests}) == 3
        assert set(environment.execution.secrets) == {agents, judges, tests}
        assert beside.requests != environment.execution.requests


def test_online_environment_passes_on_the_users_keys_as_secrets(
    tools: Tools, tmp_path: Path
) -> None:
    environ = {"GEMINI_API_KEY": KEY, "CONTEXT7_API_KEY": "c7" * 9, "OTHER": "x" * 20}
    environment = online_environment(IMAGES, tools, environ)
    around = environment.sandbox
    assert around.network is Network.ONLINE
    assert dict(around.environment) == {
        "GEMINI_API_KEY": KEY,
        "CONTEXT7_API_KEY": "c7" * 9,
    }
    assert set(environment.secrets) == set(around.environment.values())
    assert around.forwards == {}
    assert environment.context7_url is None
    assert environment.execution.requests is None, (
        "the real services keep no log for us"
    )
    judged = judged_in(environment)
    assert judged.network is Network.ONLINE
    assert judged.environment["GEMINI_API_KEY"] == KEY
    assert files_with(KEY, tmp_path) == []


def test_online_environment_invents_no_missing_key(tools: Tools) -> None:
    environment = online_environment(POST, tools, {"GEMINI_API_KEY": KEY})
    assert dict(environment.sandbox.environment) == {}
    assert environment.secrets == ()
