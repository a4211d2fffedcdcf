"""The real thing: two versions of OpenCode in their sandboxes, one trial each."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.shipped import ROOT

from llamatrix.project import Project

pytestmark = [pytest.mark.slow, pytest.mark.network]

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def compare(real_environment: dict[str, str]) -> Run:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [
                *(sys.executable, "-m", "invoke", "regress", "--agent", "--json"),
                *("--profile", "smoke", "--tasks", "httpx-post", "--trials", "1"),
                *arguments,
            ],
            cwd=ROOT,
            env=real_environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=3000,
        )

    return run


def test_one_trial_of_each_opencode_passes_says_too_little_and_is_reused(
    compare: Run,
) -> None:
    versions = ("--baseline-opencode", "april", "--candidate-opencode", "current")
    ended = compare(*versions)
    assert ended.returncode == 12, ended.stderr
    document = json.loads(ended.stdout)
    assert document["verdict"] == "INCONCLUSIVE"
    assert (document["made"], document["scripted"]) == (2, True)
    (cell,) = document["cells"]
    for arm in ("baseline", "candidate"):
        assert (cell[arm]["passed"], cell[arm]["trials"]) == (1, 1)
        assert cell[arm]["broken"] == []
    assert all(one["ratio"] > 0 for one in cell["amounts"])
    again = compare(*versions)
    assert again.returncode == 12
    assert json.loads(again.stdout)["cells"] == document["cells"]
    assert json.loads(again.stdout)["made"] == 0


def test_a_template_that_loses_tool_results_is_broken_without_a_trial(
    compare: Run, real_project: Project, tmp_path: Path
) -> None:
    pinned = (real_project.root / "templates" / "qwen35.toml").read_text()
    (name,) = (
        line.split('"')[1][:16]
        for line in pinned.splitlines()
        if line.startswith("result_sha256")
    )
    good = (real_project.cache / "templates" / f"{name}.jinja").read_text()
    mine = tmp_path / "mine.jinja"
    mine.write_text(good.replace('message.role == "tool"', 'message.role == "none"'))
    assert mine.read_text() != good
    ended = compare("--candidate-template", str(mine))
    assert ended.returncode == 11, ended.stderr
    (cell,) = json.loads(ended.stdout)["cells"]
    assert cell["verdict"] == "BROKEN"
    assert "fails essential cases" in cell["breaks"][0]
    assert json.loads(ended.stdout)["made"] == 0
