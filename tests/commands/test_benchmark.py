"""Which half of a profile a command does."""

import json
import shutil
from pathlib import Path

import pytest
from tests.commands.conftest import RunInvoke, record_lines

from llamatrix.nvml import gpus
from llamatrix.project import Project

_NO_AGENTS = 'exclude = ["agent/*"]'


@pytest.fixture
def with_agents(stocked: Project) -> Project:
    """One model's agent cells are in the profile again."""
    text = stocked.matrix_file.read_text()
    assert text.count(_NO_AGENTS) == 1
    only = 'exclude = ["agent/qwen35-35b-a3b*", "agent/gemma4*"]'
    stocked.matrix_file.write_text(text.replace(_NO_AGENTS, only))
    return stocked


@pytest.fixture
def without_bwrap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A PATH on which little more than a compiler is found."""
    folder = tmp_path / "path"
    folder.mkdir()
    for name in ("g++", "c++", "gcc", "cc", "sh", "git"):
        if found := shutil.which(name):
            (folder / name).symlink_to(found)
    monkeypatch.setenv("PATH", str(folder))


def kinds(project: Project) -> set[str]:
    return {
        json.loads(line)["cell"]["id"].partition("/")[0]
        for line in record_lines(project)
    }


@pytest.mark.usefixtures("stocked")
@pytest.mark.parametrize(
    ("command", "glob"), [("agent", "*"), ("agent", "speed/*"), ("bench", "agent/*")]
)
def test_a_command_without_cells_of_its_kind_is_exit_code_2(
    run_invoke: RunInvoke, command: str, glob: str, request: pytest.FixtureRequest
) -> None:
    if command == "bench":
        request.getfixturevalue("with_agents")
    ended = run_invoke(command, "--profile", "smoke", "--cells", glob)
    assert ended.returncode == 2
    *_, said = ended.stderr.splitlines()
    assert said == (
        "llamatrix: profile 'smoke': none of these cells is of this command's kind; "
        "`invoke plan` shows them all"
    )


def test_bench_makes_no_trial(with_agents: Project, run_invoke: RunInvoke) -> None:
    ended = run_invoke("bench", "--profile", "smoke", "--cells", "*/qwen35-27b*")
    assert ended.returncode == 0, ended.stderr
    assert kinds(with_agents) == {"speed"}
    assert "trial" not in ended.stderr


@pytest.mark.usefixtures("without_bwrap")
def test_agent_measures_no_speed_and_says_why_it_could_not_try(
    with_agents: Project, run_invoke: RunInvoke
) -> None:
    ended = run_invoke("agent", "--profile", "smoke")
    assert ended.returncode == 8, ended.stderr
    assert kinds(with_agents) == {"agent"}
    assert len(record_lines(with_agents)) == 2
    assert "0 trials made, 0 reused; 2 not run" in ended.stderr
    assert "no sandbox" in ended.stdout
    assert not (with_agents.cache / "wheels").exists(), "nothing is fetched for it"


@pytest.mark.usefixtures("without_bwrap")
def test_all_measures_speeds_and_makes_trials(
    with_agents: Project, run_invoke: RunInvoke
) -> None:
    ended = run_invoke(
        "all", "--full", "--profile", "smoke", "--cells", "*/qwen35-27b*"
    )
    assert ended.returncode == 8, "the trials could not be run"
    assert kinds(with_agents) == {"speed", "agent"}
    assert "### Prefill Speed" in ended.stdout


def test_a_dry_run_makes_nothing(with_agents: Project, run_invoke: RunInvoke) -> None:
    ended = run_invoke("agent", "--profile", "smoke", "--dry-run")
    assert ended.returncode == 0, ended.stderr
    assert "2 cells, 0 tests and 2 trials to make" in ended.stdout
    assert not with_agents.reports.exists()


@pytest.mark.skipif(bool(gpus()), reason="a card is here")
@pytest.mark.parametrize("command", ["bench", "all", "serve"])
def test_a_cuda_profile_without_a_card_compiles_and_fetches_nothing(
    project: Project, run_invoke: RunInvoke, command: str
) -> None:
    ended = run_invoke(command, "--profile", "synthetic")
    assert ended.returncode == 3
    assert "builds.cuda: no CUDA card answers" in ended.stderr.splitlines()[-1]
    for made in ("sources", "sdists", "work", "weights"):
        assert not (project.cache / made).exists()
