"""`invoke doctor`: one line each, a remedy for what is missing, an exit code."""

import json
import os
import platform
import socket
import subprocess
from pathlib import Path

import pytest
from tests.commands.conftest import RunInvoke
from tests.invoking import invoked_apart
from tests.provision.weights.hub_stub import serve_hub_stub

from llamatrix import host
from llamatrix.commands.doctor import Finding, State, findings
from llamatrix.project import Project
from llamatrix.provision.integrity import file_sha256
from llamatrix.provision.weights import hub

SUBJECTS = {
    *("world", "compiler", "cmake", "ninja", "git"),
    *("disk", "memory", "instructions"),
    *("GPU", "driver", "VRAM", "nvcc", "nix", "sandbox", "hub"),
    *("uv", "wheels", "OpenCode", "ripgrep", "Pi", "Context7", "GEMINI_API_KEY"),
}


def bare(project: Project, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run doctor where the PATH holds nothing."""
    empty = project.root / "empty"
    empty.mkdir(exist_ok=True)
    environment = {
        **os.environ,
        "PATH": str(empty),
        "LLAMATRIX_ROOT": str(project.root),
        "LLAMATRIX_CACHE": str(project.cache),
    }
    environment.pop("CXX", None)
    return invoked_apart("doctor", *arguments, env=environment)


def found_of(text: str) -> dict[str, Finding]:
    return {one["subject"]: Finding(**one) for one in json.loads(text)}


@pytest.mark.usefixtures("stocked")
def test_doctor_lines_have_a_state_and_a_remedy(run_invoke: RunInvoke) -> None:
    ended = run_invoke("doctor")
    assert ended.returncode == 0, ended.stderr
    *lines, closing = ended.stdout.splitlines()
    assert {line.split()[0] for line in lines} == SUBJECTS
    assert {line.split()[1] for line in lines} <= set(State)
    assert "`invoke all` here takes profile" in closing


def test_verify_reads_the_whole_cache_and_names_damaged_files(
    stocked: Project, run_invoke: RunInvoke
) -> None:
    """A record that is true of the stamps stands for a disk that lost a bit."""
    ended = run_invoke("doctor", "--verify")
    assert ended.returncode == 0, ended.stderr
    assert "are what was put there" in ended.stdout
    (record,) = (stocked.cache / "sources").glob(".*.files.json")
    sha256 = file_sha256(next((stocked.cache / "sources").rglob("README.md")))
    record.write_text(record.read_text().replace(sha256, "0" * 64))
    ended = run_invoke("doctor", "--verify")
    assert ended.returncode == 1
    assert "1 damaged in" in ended.stderr
    assert f"sha256 is {sha256}, but {'0' * 64} was recorded" in ended.stdout


@pytest.mark.usefixtures("stocked")
def test_doctor_json_has_the_same_findings(run_invoke: RunInvoke) -> None:
    found = found_of(run_invoke("doctor", "--json").stdout)
    assert found.keys() == SUBJECTS
    for one in found.values():
        assert bool(one.remedy) == (one.state == State.MISSING)


def test_doctor_exits_3_where_nothing_can_run(project: Project) -> None:
    ended = bare(project)
    assert ended.returncode == 3
    assert "nothing can be run here" in ended.stderr
    assert "apt install g++" in ended.stdout


def test_doctor_accepts_a_cached_build_without_a_compiler(stocked: Project) -> None:
    ended = bare(stocked, "--json")
    assert ended.returncode == 0, ended.stderr
    found = found_of(ended.stdout)
    assert "1 builds in the cache" in found["compiler"].found
    for subject in ("compiler", "git", "nix", "sandbox"):
        assert found[subject].state == State.MISSING
        assert found[subject].remedy


def test_a_processor_without_the_builds_instructions_is_reported(
    project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "cpuinfo").write_text("flags\t\t: fpu avx\n")
    monkeypatch.setattr(host, "_CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    found = [one for one in findings(project) if one.subject == "instructions"]
    told = [one for one in found if one.state == State.MISSING]
    assert "GGML_AVX2" in told[0].found
    assert "builds.cpu.cmake" in told[0].remedy


def test_full_disk_is_reported_with_the_free_space(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    usage = shutil.disk_usage("/")._replace(free=2**20)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    (disk,) = (one for one in findings(project) if one.subject == "disk")
    assert disk.state == State.MISSING
    assert "1 MiB free" in disk.found
    assert "LLAMATRIX_CACHE" in disk.remedy


def test_hub_that_refuses_counts_as_answering(monkeypatch: pytest.MonkeyPatch) -> None:
    with serve_hub_stub() as standin:
        monkeypatch.setenv("HF_ENDPOINT", standin.endpoint)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        assert hub.answers()
        standin.gate = 503
        assert not hub.answers()


def test_silent_hub_is_given_up_after_the_timeout(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        assert not hub.answers(timeout_s=0.1)
