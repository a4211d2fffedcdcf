"""`invoke bench-self --profile`: cut short and resumed, against a fake engine."""

import json
import os
import subprocess
from pathlib import Path

import pytest
from tests.commands.conftest import RunInvoke, record_lines
from tests.invoking import invoked_apart
from tests.shipped import FAKES

from llamatrix.project import Project

SMOKE = ("bench-self", "--profile", "smoke")
_TESTS = 4 * 2  # tests × processes of one smoke cell


def hand_lines(project: Project) -> list[str]:
    files = sorted((project.reports / "by-hand").rglob("*.jsonl"))
    return [line for path in files for line in path.read_text().splitlines()]


def test_hand_runs_alternate_with_ours_and_tables_compare_them(
    stocked: Project, run_invoke: RunInvoke
) -> None:
    ended = run_invoke(*SMOKE)
    assert ended.returncode == 0, ended.stderr
    order = [
        "hand" if "by hand #" in line else "ours"
        for line in ended.stderr.splitlines()
        if "by hand #" in line or "measuring speed/" in line
    ]
    assert order == ["hand", "ours", "ours", "hand"]
    assert len(record_lines(stocked)) == _TESTS
    assert len(hand_lines(stocked)) == 2
    assert "### Through llamatrix and by hand (tokens/s)" in ended.stdout
    assert "| pp128  |" in ended.stdout
    assert " 1.0000 |" in ended.stdout
    written = (stocked.reports / "speed.md").read_text()
    assert "### Through llamatrix and by hand (tokens/s)" in written


def test_export_copies_hand_runs(stocked: Project, run_invoke: RunInvoke) -> None:
    run_invoke(*SMOKE)
    copy = stocked.root / "copy"
    ended = run_invoke("table", "--full", "--out", str(copy))
    assert ended.returncode == 0, ended.stderr
    assert (copy / "speed.md").read_text() == (stocked.reports / "speed.md").read_text()
    (copied,) = (copy / "by-hand").rglob("*.jsonl")
    assert copied.read_text().splitlines() == hand_lines(stocked)


def speeds(text: str) -> str:
    """Return the tables, without the line about sampling."""
    return text.partition("# Speed")[2]


def test_a_second_run_measures_nothing(stocked: Project, run_invoke: RunInvoke) -> None:
    first = run_invoke(*SMOKE)
    before = (record_lines(stocked), hand_lines(stocked))
    second = run_invoke(*SMOKE)
    assert (record_lines(stocked), hand_lines(stocked)) == before
    assert speeds(second.stdout) == speeds(first.stdout)


def test_spent_budget_starts_no_process_and_says_how_to_continue(
    stocked: Project, run_invoke: RunInvoke
) -> None:
    cut = run_invoke(*SMOKE, "--budget", "0s")
    assert cut.returncode == 0, cut.stderr
    assert "run the same command again to continue" in cut.stderr
    assert (record_lines(stocked), hand_lines(stocked)) == ([], [])


def test_rerun_measures_only_what_an_interrupted_run_lacks(
    stocked: Project, run_invoke: RunInvoke
) -> None:
    run_invoke(*SMOKE)
    (records,) = stocked.records.rglob("*.jsonl")
    (by_hand,) = (stocked.reports / "by-hand").rglob("*.jsonl")
    records.write_text("\n".join(record_lines(stocked)[:6]) + "\n")
    by_hand.write_text(hand_lines(stocked)[0] + "\n")
    kept = (record_lines(stocked), hand_lines(stocked))
    ended = run_invoke(*SMOKE)
    assert ended.returncode == 0, ended.stderr
    assert "by hand #1" not in ended.stderr
    assert record_lines(stocked)[:6] == kept[0]
    assert hand_lines(stocked)[:1] == kept[1]
    assert len(record_lines(stocked)) == _TESTS
    assert len(hand_lines(stocked)) == 2


@pytest.mark.usefixtures("stocked")
def test_a_run_by_hand_that_fails_is_exit_code_5(run_invoke: RunInvoke) -> None:
    ended = run_invoke(*SMOKE, fail={"512": "crash"})
    assert ended.returncode == 5
    assert "by hand ended with exit code" in ended.stderr


@pytest.mark.usefixtures("stocked")
@pytest.mark.parametrize(
    ("flags", "word"),
    [
        (("--budget", "long"), "write for example 90s"),
        (("--model", "qwen"), "matches no cell"),
    ],
)
def test_a_wrong_flag_is_exit_code_2(
    run_invoke: RunInvoke, flags: tuple[str, str], word: str
) -> None:
    ended = run_invoke(*SMOKE, *flags)
    assert ended.returncode == 2
    assert word in ended.stderr


def prove_on(
    environment: dict[str, str], cards: list[dict[str, object]], tools: Path
) -> subprocess.CompletedProcess[str]:
    """Run the real profile with a fake library and a fake nvcc."""
    return invoked_apart(
        *("bench-self", "--profile", "gpu-proof"),
        env={
            **environment,
            "PATH": f"{tools}:{os.environ['PATH']}",
            "PYTHONPATH": str(FAKES),
            "FAKE_NVML": json.dumps(cards),
        },
    )


@pytest.fixture
def nvcc(tmp_path: Path) -> Path:
    """A folder with an nvcc that says its version and compiles nothing."""
    path = tmp_path / "tools" / "nvcc"
    path.parent.mkdir()
    path.write_text("#!/bin/sh\necho 'NVIDIA (R) Cuda release 13.0, V13.0.88'\n")
    path.chmod(0o755)
    return path.parent


def test_nvcc_without_card_is_refused_before_any_build(
    invoke_environment: dict[str, str], project: Project, nvcc: Path
) -> None:
    ended = prove_on(invoke_environment, [], nvcc)
    assert ended.returncode == 5
    assert "shows no card: nothing to measure" in ended.stderr
    assert not (project.cache / "builds").exists()


def test_card_that_is_too_small_is_refused_before_any_build(
    invoke_environment: dict[str, str], project: Project, nvcc: Path
) -> None:
    card: dict[str, object] = {
        "name": "NVIDIA GeForce RTX 5080",
        "memory": 16 * 2**30,
        "used": 0,
        "capability": [12, 0],
        "processes": [],
    }
    ended = prove_on(invoke_environment, [card], nvcc)
    assert ended.returncode == 5
    assert "needs 17.2 GiB by prediction" in ended.stderr
    assert "RTX 5080 has 16 GiB" in ended.stderr
    assert not (project.cache / "builds").exists()
