"""OpenCode as strangers met it: broken, never the model's failure, with its reason.

anomalyco/opencode#26509, #27559, #41469, #17516, #44782, #31152.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.campaigns.conftest import record_lines
from tests.shipped import FAKES, ROOT

from llamatrix.project import Project

pytestmark = [pytest.mark.slow, pytest.mark.network]


def agent(environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    words = ("agent", "--profile", "smoke", "--cells", "*httpx*")
    return subprocess.run(
        [sys.executable, "-m", "invoke", *words],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=540,
    )


def change(project: Project, **values: int) -> None:
    """Set keys of the smoke agent, and the context of its model."""
    text = project.matrix_file.read_text()
    head, agents = text.split("[agents.smoke]", 1)
    for key, value in values.items():
        lines = [line for line in agents.splitlines() if line.startswith(f"{key} =")]
        agents = agents.replace(lines[0], f"{key} = {value}", 1)
    project.matrix_file.write_text(f"{head}[agents.smoke]{agents}")


def causes(project: Project) -> set[str]:
    outcomes = [json.loads(line)["result"]["outcome"] for line in record_lines(project)]
    assert {outcome["type"] for outcome in outcomes} == {"broken"}
    return {outcome["cause"]["type"] for outcome in outcomes}


@pytest.mark.parametrize(
    ("way", "cause", "said"),
    [
        ("exit0", "agent-failed", "Model not found: local/qwen35-27b"),
        ("exit0-silent", "agent-failed", "NotFoundError Session not found: ses_x"),
        ("unknown", "agent-failed", "without a last word (finish `unknown`)"),
        ("hang", "agent-hung", "silent for"),
        ("silent-start", "agent-hung", "silent for"),
    ],
)
def test_what_opencode_does_wrong_is_broken_and_named(
    real_project: Project,
    real_environment: dict[str, str],
    tmp_path: Path,
    way: str,
    cause: str,
    said: str,
) -> None:
    program = tmp_path / "oc" / "bin" / "opencode"
    program.parent.mkdir(parents=True)
    program.write_text((FAKES / "field_opencode.py").read_text().replace("@WAY@", way))
    program.chmod(0o755)
    offered = tmp_path / "shell.json"
    offered.write_text(json.dumps({"opencode": {"current": str(tmp_path / "oc")}}))
    change(real_project, turn_timeout_s=60, silence_timeout_s=5)
    ended = agent(real_environment | {"LLAMATRIX_NIX": str(offered)})
    assert ended.returncode == 8, ended.stderr
    assert causes(real_project) == {cause}
    assert said in ended.stdout


def test_a_context_without_room_for_the_first_prompt_is_ended_and_named(
    real_project: Project, real_environment: dict[str, str]
) -> None:
    text = real_project.matrix_file.read_text()
    real_project.matrix_file.write_text(
        text.replace("ctx_size = 130672", "ctx_size = 41000", 1)
    )
    change(real_project, output_tokens=32000)
    ended = agent(real_environment)
    assert ended.returncode == 8, ended.stderr
    assert causes(real_project) == {"compacted-for-ever"}
    assert "leaves 9000: the set-up's fault" in ended.stdout
