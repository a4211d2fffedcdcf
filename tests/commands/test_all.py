"""`invoke all`, as a user runs it, against a fake engine: reuse, resume, bad days."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.commands.conftest import RunInvoke, record_lines
from tests.invoking import invoked_apart
from tests.shipped import ROOT
from tests.waiting import gone_within, wait_until

from llamatrix.project import Project

_TESTS = 4 * 4 * 2  # models × tests × processes of the smoke profile


def test_first_line_names_the_profile_and_the_reason(
    stocked: Project, run_invoke: RunInvoke
) -> None:
    ended = run_invoke("all", "--full", "--profile", "smoke")
    assert ended.returncode == 0, ended.stderr
    assert "profile smoke (as asked)" in ended.stderr.splitlines()[0]
    assert "### Prefill Speed" in ended.stdout
    assert "### Generation Speed" in ended.stdout
    assert (stocked.reports / "speed.md").exists()
    assert len(record_lines(stocked)) == _TESTS


def test_command_shows_only_the_sweep_that_it_ran(
    stocked: Project, run_invoke: RunInvoke
) -> None:
    matrix = stocked.matrix_file
    one = run_invoke(
        "all", "--full", "--profile", "smoke", "--cells", "speed/gemma4-31b*"
    )
    assert "## Speed: smoke sweep" in one.stdout, one.stderr
    text = matrix.read_text().replace('sweep = "smoke"', 'sweep = "other"')
    text = text.replace("[sweeps.smoke]", "[sweeps.other]")
    matrix.write_text(text)
    same = run_invoke(
        "all", "--full", "--profile", "smoke", "--cells", "speed/gemma4-31b*"
    )
    assert same.stdout == one.stdout, "the same flags by another name are reused"
    matrix.write_text(text.replace("n_gen = [32]", "n_gen = [16]"))
    two = run_invoke(
        "all", "--full", "--profile", "smoke", "--cells", "speed/gemma4-31b*"
    )
    assert "## Speed: other sweep" in two.stdout, two.stderr
    assert "smoke sweep" not in two.stdout


def test_a_second_run_measures_nothing_and_says_so(
    stocked: Project, run_invoke: RunInvoke
) -> None:
    first = run_invoke("all", "--full", "--profile", "smoke")
    before = record_lines(stocked)
    second = run_invoke("all", "--full", "--profile", "smoke")
    assert second.returncode == 0
    assert f"nothing measured: all {_TESTS} tests reused" in second.stderr
    assert record_lines(stocked) == before
    assert second.stdout == first.stdout


def test_again_adds_repeats_and_loses_none(
    stocked: Project, run_invoke: RunInvoke
) -> None:
    run_invoke("all", "--profile", "smoke")
    run_invoke("bench", "--profile", "smoke", "--again", "1", "--cells", "*gemma4-31b*")
    lines = record_lines(stocked)
    assert len(lines) == _TESTS + 4
    repeats = [json.loads(line)["repeat"] for line in lines if "gemma4-31b" in line]
    assert sorted(repeats) == [1] * 4 + [2] * 4 + [3] * 4


def test_failures_are_recorded_shown_and_measured_again_on_demand(
    stocked: Project, run_invoke: RunInvoke
) -> None:
    failed = run_invoke("all", "--full", "--profile", "smoke", fail={"512": "memory"})
    assert failed.returncode == 8
    assert "out of memory" in failed.stdout
    assert "8 failed" in failed.stderr
    kept = run_invoke("all", "--full", "--profile", "smoke")
    assert kept.returncode == 8, "it still has no number"
    assert "nothing measured" in kept.stderr
    retried = run_invoke("all", "--full", "--profile", "smoke", "--retry")
    assert retried.returncode == 0
    assert "8 tests measured" in retried.stderr
    assert "out of memory" not in retried.stdout
    assert len(record_lines(stocked)) == _TESTS + 8


def test_changed_input_is_measured_again_and_nothing_else(
    stocked: Project, run_invoke: RunInvoke
) -> None:
    run_invoke("all", "--profile", "smoke")
    matrix = stocked.matrix_file
    matrix.write_text(
        matrix.read_text().replace("n_prompt = [128, 512", "n_prompt = [64, 512")
    )
    ended = run_invoke("all", "--full", "--profile", "smoke", "--cells", "*qwen35-27b*")
    assert "8 tests measured" in ended.stderr
    assert "pp64" in ended.stdout


def test_a_dry_run_writes_nothing(stocked: Project, run_invoke: RunInvoke) -> None:
    ended = run_invoke("all", "--full", "--profile", "smoke", "--dry-run")
    assert ended.returncode == 0
    assert "32 tests and 0 trials to make" in ended.stdout
    assert not stocked.reports.exists()


@pytest.mark.usefixtures("stocked")
def test_plan_json_is_valid_json(run_invoke: RunInvoke) -> None:
    ended = run_invoke("plan", "--profile", "smoke", "--json")
    cells = json.loads(ended.stdout)
    assert [cell["recorded"] for cell in cells] == [0, 0, 0, 0]
    assert cells[0]["id"] == "speed/qwen35-27b.tiny/current/cpu"
    assert len(cells[0]["missing"]) == 8


def test_an_unknown_profile_is_one_line_and_exit_code_2(
    run_invoke: RunInvoke,
) -> None:
    ended = run_invoke("all", "--full", "--profile", "smok")
    assert ended.returncode == 2
    assert ended.stderr.splitlines() == [
        "llamatrix: matrix.toml: no profile 'smok'; did you mean 'smoke'?"
    ]


def test_no_compiler_is_exit_code_3_with_the_remedy(
    invoke_environment: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "nothing").mkdir()
    environment = {**invoke_environment, "PATH": str(tmp_path / "nothing")}
    environment.pop("CXX", None)
    ended = invoked_apart("build", "--profile", "smoke", env=environment)
    assert ended.returncode == 3
    assert "no C++ compiler found" in ended.stderr
    assert "apt install g++" in ended.stderr


def test_a_table_without_records_is_exit_code_7(
    run_invoke: RunInvoke,
) -> None:
    ended = run_invoke("table", "--full")
    assert ended.returncode == 7
    assert "no records yet" in ended.stderr


def test_table_needs_no_build_and_no_network(
    stocked: Project, run_invoke: RunInvoke
) -> None:
    first = run_invoke("all", "--full", "--profile", "smoke")
    pages = {path.name: path.read_bytes() for path in stocked.reports.glob("*.*")}
    for path in stocked.reports.glob("*.*"):
        path.unlink()
    (stocked.cache / "builds").rename(stocked.cache / "gone")
    again = run_invoke("table", "--full", "--profile", "smoke")
    assert again.returncode == 0
    assert again.stdout == first.stdout
    assert pages == {
        path.name: path.read_bytes() for path in stocked.reports.glob("*.*")
    }


def test_table_out_copies_pages_and_records(
    stocked: Project, run_invoke: RunInvoke, tmp_path: Path
) -> None:
    run_invoke("all", "--profile", "smoke")
    run_invoke("table", "--full", "--profile", "smoke", "--out", str(tmp_path / "copy"))
    copied = sorted((tmp_path / "copy").rglob("*.jsonl"))
    lines = [line for path in copied for line in path.read_text().splitlines()]
    assert lines == record_lines(stocked)
    assert len(lines) == _TESTS
    assert (tmp_path / "copy" / "speed.md").read_bytes() == (
        stocked.reports / "speed.md"
    ).read_bytes()


def test_table_out_adds_to_an_older_copy_and_leaves_other_records_alone(
    stocked: Project, run_invoke: RunInvoke, tmp_path: Path
) -> None:
    table = ("table", "--out", str(tmp_path / "copy"))
    bench = ("bench", "--profile", "smoke", "--cells", "*gemma4-31b*", "--again")
    run_invoke(*bench, "0")
    run_invoke(*table)
    (copied,) = (tmp_path / "copy").rglob("*.jsonl")
    run_invoke(*bench, "1")
    run_invoke(*table)
    assert copied.read_text().splitlines() == record_lines(stocked)
    theirs = "{}\n" + copied.read_text()
    copied.write_text(theirs)
    ended = run_invoke(*table)
    assert f"{copied}: has other records than " in ended.stderr
    assert copied.read_text() == theirs


def test_no_record_holds_a_path_or_a_user(
    stocked: Project, run_invoke: RunInvoke
) -> None:
    import getpass
    import socket

    run_invoke("all", "--profile", "smoke")
    lines = record_lines(stocked)
    assert len(lines) == _TESTS
    for line in lines:
        assert str(stocked.cache) not in line
        assert str(ROOT) not in line
        assert f'"{getpass.getuser()}"' not in line
        assert f'"{socket.gethostname()}"' not in line


def begin_all(environment: dict[str, str], **wishes: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "invoke", "all", "--profile", "smoke"],
        cwd=ROOT,
        env={**environment, "LLAMATRIX_FAKE_BENCH": json.dumps(wishes)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for_records(project: Project, count: int) -> None:
    wait_until(lambda: len(record_lines(project)) >= count)


def fake_processes(project: Project) -> list[int]:
    """Ids of the fakes that run from this project's cache."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes()
                where = (entry / "cwd").readlink()
            except OSError:
                continue
            if b"llama_bench.py" in words and where.is_relative_to(project.cache):
                found.append(int(entry.name))
    return found


@pytest.mark.slow
def test_killed_harness_leaves_no_child_and_a_rerun_continues(
    stocked: Project, invoke_environment: dict[str, str], run_invoke: RunInvoke
) -> None:
    harness = begin_all(invoke_environment, delay_s=0.3)
    wait_for_records(stocked, 3)
    children = fake_processes(stocked)
    assert children
    os.kill(harness.pid, signal.SIGKILL)
    harness.communicate(timeout=30)
    assert all(gone_within(pid, 10) for pid in children)
    kept = record_lines(stocked)
    assert 3 <= len(kept) < _TESTS
    rerun = run_invoke("all", "--full", "--profile", "smoke")
    assert rerun.returncode == 0
    assert f"{_TESTS - len(kept)} tests measured, {len(kept)} reused" in rerun.stderr
    lines = record_lines(stocked)
    assert len(lines) == _TESTS
    assert set(kept) <= set(lines)


def test_ctrl_c_leaves_no_child_and_exits_130(
    stocked: Project, invoke_environment: dict[str, str]
) -> None:
    harness = begin_all(invoke_environment, delay_s=0.3, child=True)
    wait_for_records(stocked, 2)
    children = fake_processes(stocked)
    assert children
    os.kill(harness.pid, signal.SIGINT)
    _, said = harness.communicate(timeout=30)
    assert harness.returncode == 130
    assert "interrupted; finished records are kept" in said
    assert "Traceback" not in said
    assert all(gone_within(pid, 10) for pid in children)
    assert len(record_lines(stocked)) >= 2


@pytest.mark.slow
def test_two_harnesses_on_one_store_share_the_work(
    stocked: Project, invoke_environment: dict[str, str]
) -> None:
    both = [begin_all(invoke_environment, delay_s=0.02) for _ in range(2)]
    said = [harness.communicate(timeout=240) for harness in both]
    assert [harness.returncode for harness in both] == [0, 0], said
    keys = [
        (record["cell"]["id"], record["repeat"], *record["test"].values())
        for record in map(json.loads, record_lines(stocked))
    ]
    assert len(keys) == len(set(keys)) == _TESTS


def test_a_declared_variable_is_in_record_and_digest(
    stocked: Project, run_invoke: RunInvoke, invoke_environment: dict[str, str]
) -> None:
    invoke_environment["GGML_CUDA_DISABLE_GRAPHS"] = ""
    cells = ("--profile", "smoke", "--cells", "speed/gemma4-31b*")
    plain = run_invoke("bench", *cells)
    assert plain.returncode == 0, plain.stderr
    assert "not passed on to measured programs: GGML_CUDA_DISABLE_GRAPHS" in (
        plain.stderr
    )
    text = stocked.matrix_file.read_text()
    env = 'timeout_s = 120\nenv = { GGML_CUDA_DISABLE_GRAPHS = "1" }'
    stocked.matrix_file.write_text(text.replace("timeout_s = 120", env, 1))
    declared = run_invoke("bench", *cells)
    assert "8 tests measured, 0 reused" in declared.stderr
    records = [json.loads(line) for line in record_lines(stocked)]
    found = [record.get("environment") for record in records]
    assert found == [None] * 8 + [{"GGML_CUDA_DISABLE_GRAPHS": "1"}] * 8
