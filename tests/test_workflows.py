"""The workflows of hosted runners, as far as they can be tested without one."""

import re
from pathlib import Path

import pytest
from tests.shipped import ROOT, shipped_matrix

from llamatrix.config.matrix import Measurement
from llamatrix.sandbox.spec import probe

MATRIX = shipped_matrix()
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
PROFILE = re.compile(r"invoke all --profile (\S+)")
SWITCH = re.compile(r"sudo sysctl (\S+)")


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflow_actions_are_used_at_a_version(path: Path) -> None:
    used = re.findall(r"uses: (\S+)", path.read_text())
    assert used
    for action in used:
        assert re.fullmatch(r"[\w-]+/[\w-]+@v\d+", action), action


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflow_allows_user_namespaces_before_trials(
    path: Path, tmp_path: Path
) -> None:
    """The workflow must use the setting that the sandbox's remedy names."""
    bwrap = tmp_path / "bwrap"
    bwrap.write_text("#!/bin/sh\nexit 1\n")
    bwrap.chmod(0o755)
    problem = probe(bwrap)
    assert problem
    text = path.read_text()
    for found in PROFILE.finditer(text):
        profile = MATRIX.profiles[found[1]]
        if Measurement.AGENT in profile.measure:
            switched = SWITCH.findall(text[: found.start()])
            assert switched, f"{path.name} runs agents without a sandbox"
            assert all(switch in problem.remedy for switch in switched)


def test_some_workflow_runs_trials() -> None:
    """Otherwise the test above is empty."""
    names = PROFILE.findall("".join(path.read_text() for path in WORKFLOWS))
    assert any(Measurement.AGENT in MATRIX.profiles[name].measure for name in names)
