"""The real engine compared with itself: bare, slowed by a shim, beside a burner.

No claim depends on how busy the machine is: a wrong verdict is one that no noise excuses.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.commands.regress.conftest import ledger_lines, regress_argv, regress_words
from tests.engines.llama_cpp.real import real_launch
from tests.invoking import invoked_apart
from tests.shipped import ROOT
from tests.trials.replayed import SESSION

from llamatrix.commands.flags import RegressFlags
from llamatrix.commands.regress_selftest import (
    Scenario,
    broken_by,
    run_scenario,
)
from llamatrix.compare.ledger import WARM_UP
from llamatrix.engines.llama_cpp.server import running
from llamatrix.project import Project
from llamatrix.stats.verdict import Verdict

pytestmark = [pytest.mark.slow, pytest.mark.network]

_FLAGS = (
    *("--baseline", "current", "--candidate", "current"),
    *("--metric", "pp", "--margin", "0.5", "--json"),
)


@pytest.fixture
def burner() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Processes that a test starts to keep the machine busy; ended with it."""
    started: list[subprocess.Popen[bytes]] = []
    yield started
    for process in started:
        process.kill()
        process.wait()


def test_a_build_against_itself_is_never_called_changed(
    real_environment: dict[str, str],
) -> None:
    """Half the speed is the margin: noise would have to double a pairs_of mean."""
    ended = invoked_apart(
        *regress_words(*_FLAGS, "--budget", "10s"), env=real_environment
    )
    assert ended.returncode in {0, 12}, ended.stderr
    found = json.loads(ended.stdout)
    assert found["identical"] is True
    assert found["verdict"] in {"SAME", "INCONCLUSIVE"}
    assert found["processes"] >= 2


def test_a_server_that_runs_is_compared_with_a_pin_over_http(
    real_environment: dict[str, str], real_project: Project, tmp_path: Path
) -> None:
    """The endpoint is the pin's own server, so that only noise could differ."""
    launch = real_launch(
        "current", "qwen35-27b", cache=real_project.cache, folder=tmp_path
    )
    with running(launch, log=tmp_path / "server.log") as serving:
        with real_project.matrix_file.open("a") as matrix:
            matrix.write(
                f'\n[endpoints.mine]\nurl = "{serving.url}"\nmodel = "qwen35-27b"\n'
            )
        flags = (
            *("--baseline", "current", "--candidate", "endpoint:mine"),
            *("--metric", "pp", "--margin", "0.9", "--budget", "10s", "--json"),
        )
        ended = invoked_apart(*regress_words(*flags), env=real_environment)
    assert ended.returncode in {0, 12}, ended.stderr
    found = json.loads(ended.stdout)
    assert found["candidate"]["verified"] is False
    assert "llama.cpp" in found["candidate"]["reported"]
    lines = ledger_lines(real_project)
    assert {line["outcome"]["type"] for line in lines} == {"done"}  # type: ignore[index]
    for pair in {line["pair"] for line in lines} - {WARM_UP}:
        counted = {line["prompt_tokens"] for line in lines if line["pair"] == pair}
        assert len(counted) == 1, "both arms get the pair's own prompts"
    assert all(("build" in line) == (line["arm"] == "baseline") for line in lines)


def test_a_session_replayed_by_one_build_twice_is_never_called_changed(
    real_environment: dict[str, str], real_project: Project, tmp_path: Path
) -> None:
    """A real OpenCode's calls without its tools: each byte is a token of tiny weights."""
    recording = tmp_path / "calls"
    shutil.copytree(SESSION, recording)
    for file in recording.glob("*.request.json"):
        body = json.loads(file.read_text())
        body.pop("tools", None)
        body.pop("tool_choice", None)
        file.write_text(json.dumps(body))
    flags = (
        *("--baseline", "current", "--candidate", "current", "--margin", "0.5"),
        *("--replay", str(recording), "--budget", "20s", "--json"),
    )
    ended = invoked_apart(*regress_words(*flags), env=real_environment)
    assert ended.returncode in {0, 12}, ended.stderr
    found = json.loads(ended.stdout)
    assert found["identical"] is True
    assert len(found["cells"]) == 3
    words = {cell["verdict"] for cell in found["cells"]}
    assert words <= {"SAME", "INCONCLUSIVE"}
    lines = ledger_lines(real_project)
    assert len(lines) >= 2
    assert len({str(line["script"]) for line in lines}) == 1
    for line in lines:
        calls = line["outcome"]["calls"]  # type: ignore[index]
        made = [call["timings"]["predicted_n"] for call in calls]
        assert made == [4, 42, 35, 8], "every answer has the recorded length"
        assert calls[2]["timings"]["cache_n"] > calls[1]["prompt_tokens"] // 2


def test_the_vendors_template_is_broken_beside_ours(
    real_environment: dict[str, str], real_project: Project
) -> None:
    """It ends a request with a late system message, as agents send them."""
    flags = (
        *("--baseline", "current", "--candidate", "current,template:vendor"),
        "--json",
        *("--replay", str(SESSION)),
    )
    ended = invoked_apart(*regress_words(*flags), env=real_environment)
    assert ended.returncode == 11, ended.stderr
    (notes,) = {tuple(cell["notes"]) for cell in json.loads(ended.stdout)["cells"]}
    assert "system-late" in notes[0]
    assert ledger_lines(real_project) == []


def test_slowed_candidate_is_slower_where_it_is_detectable(
    real_project: Project, tmp_path: Path
) -> None:
    scenario = Scenario(name="stopped half of the time", way="pause", amount="0.5")
    flags = RegressFlags(
        baseline="current",
        candidate="current",
        cells="*qwen35-27b*",
        budget="10s",
        max_background_load=100.0,
        profile="engines",
        metric="pp",
    )
    found = run_scenario(scenario, tmp_path / "slow", project=real_project, flags=flags)
    assert not list(broken_by(scenario, found))
    (cell,) = found.judgement.cells
    assert cell.verdict is not Verdict.SAME


def test_load_in_mid_run_is_noticed_and_causes_no_false_slower(
    real_project: Project,
    real_environment: dict[str, str],
    burner: list[subprocess.Popen[bytes]],
) -> None:
    """As many burners as cores: on any machine more than 5 % of all cores."""
    harness = subprocess.Popen(
        regress_argv(*_FLAGS, "--budget", "10s", "--max-background-load", "5"),
        cwd=ROOT,
        env=real_environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while harness.poll() is None and not ledger_lines(real_project):
        time.sleep(0.05)
    spin = [sys.executable, "-c", "while True: pass"]
    burner += [subprocess.Popen(spin) for _ in range(os.cpu_count() or 1)]
    said, complained = harness.communicate()
    assert harness.returncode in {0, 12}, complained
    assert json.loads(said)["verdict"] in {"SAME", "INCONCLUSIVE"}
    reasons = {str(line["disturbed"]) for line in ledger_lines(real_project)}
    assert any(reason.startswith("background CPU load") for reason in reasons)
