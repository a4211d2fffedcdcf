"""What an agent and its judge find around them, online and hermetic."""

from pathlib import Path

import msgspec
import pytest
from tests.trials.trying import files_with

from llamatrix.agents.opencode.context7 import FOLDER
from llamatrix.config.matrix import Network
from llamatrix.trials.checks.enclosed import ENCLOSURE, Enclosure
from llamatrix.trials.checks.task import load_task
from llamatrix.trials.stubs.services import Services
from llamatrix.trials.stubs.serving import HOSTS
from llamatrix.trials.trial_world import Tools, World, hermetic_world, online_world

IMAGES, POST = load_task("gemini-images"), load_task("httpx-post")
KEY = "the-users-own-key-0123"
SHARED = Services(context7=30001, packages=30002, log=Path("services.jsonl"))


@pytest.fixture
def tools(tmp_path: Path) -> Tools:
    names = ("opencode", "rg", "node", "uv")
    return Tools(
        bwrap=Path("/usr/bin/bwrap"),
        programs={name: Path("/programs") / name for name in names},
        context7=tmp_path / "context7",
    )


def enclosure(world: World) -> Enclosure:
    return msgspec.json.decode(world.ground.environment[ENCLOSURE], type=Enclosure)


def test_a_hermetic_world_has_the_stand_ins_key_and_not_the_users(
    tools: Tools, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GEMINI_API_KEY", KEY)
    with hermetic_world(IMAGES, tools, tmp_path, SHARED) as world:
        around = world.surroundings
        (key,) = around.secrets
        assert around.environment["GEMINI_API_KEY"] == key != KEY
        assert KEY not in enclosure(world).environment.values()
        assert set(around.hosts) == set(HOSTS)
        assert around.forwards[8101] == SHARED.context7
        assert around.forwards[8102] == SHARED.packages
        assert world.context7_url == "http://127.0.0.1:8101"
        assert key not in repr(around)


def test_a_task_without_a_key_is_given_none(tools: Tools, tmp_path: Path) -> None:
    with hermetic_world(POST, tools, tmp_path, SHARED) as world:
        assert world.surroundings.secrets[0] not in str(
            world.surroundings.environment.values()
        )


def test_judged_programs_see_what_the_agents_did_but_for_its_own_tools(
    tools: Tools, tmp_path: Path
) -> None:
    with hermetic_world(IMAGES, tools, tmp_path, SHARED) as world:
        judged = enclosure(world)
        assert set(judged.tools) == {"uv"}
        assert str(FOLDER) not in judged.shown
        assert len(judged.shown) == 2, "the authority's paper, our own programs"
        assert sorted(port for port, _ in judged.forwards) == [443, 8102, 8103]
        assert world.ground.requests == str(tmp_path / "judged-requests.jsonl")
        assert world.ground.agents_requests == str(tmp_path / "requests.jsonl")
        assert not judged.online
        differing = set(world.surroundings.environment.items()) - set(
            judged.environment.items()
        )
        assert {name for name, _ in differing} == {"GEMINI_API_KEY"}


def test_the_judge_has_another_key_than_the_agent_and_both_are_secret(
    tools: Tools, tmp_path: Path
) -> None:
    with hermetic_world(IMAGES, tools, tmp_path, SHARED) as world:
        agents = world.surroundings.environment["GEMINI_API_KEY"]
        judges = enclosure(world).environment["GEMINI_API_KEY"]
        assert agents != judges
        assert set(world.ground.secrets) == {agents, judges}


def test_online_the_users_keys_are_passed_on_and_secret(
    tools: Tools, tmp_path: Path
) -> None:
    environ = {"GEMINI_API_KEY": KEY, "CONTEXT7_API_KEY": "c7" * 9, "OTHER": "x" * 20}
    world = online_world(IMAGES, tools, tmp_path, environ)
    around = world.surroundings
    assert around.network is Network.ONLINE
    assert dict(around.environment) == {
        "GEMINI_API_KEY": KEY,
        "CONTEXT7_API_KEY": "c7" * 9,
    }
    assert set(around.secrets) == set(around.environment.values())
    assert around.forwards == {}
    assert world.context7_url is None
    assert world.ground.requests is None, "the real services keep no log for us"
    judged = enclosure(world)
    assert judged.online
    assert judged.environment["GEMINI_API_KEY"] == KEY
    assert files_with(KEY, tmp_path) == []


def test_online_a_key_that_is_not_there_is_not_made_up(
    tools: Tools, tmp_path: Path
) -> None:
    world = online_world(POST, tools, tmp_path, {"GEMINI_API_KEY": KEY})
    assert dict(world.surroundings.environment) == {}
    assert world.surroundings.secrets == ()
