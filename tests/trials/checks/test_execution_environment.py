"""Judged programs in a real sandbox: what they reach, and that nothing of them stays."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import msgspec
import pytest
from tests.waiting import gone_within, wait_until

import llamatrix
from llamatrix.errors import MeasureError
from llamatrix.project import find_project
from llamatrix.provision.programs import find_bwrap
from llamatrix.proxy.serving import loopback_listener
from llamatrix.sandbox.spec import HOME, SandboxSpec, inside_path
from llamatrix.trials.checks.execution_environment import run_in_sandbox

SERVED = 8102
PROBES = """\
import socket
for port in ({served}, {other}):
    try:
        with socket.create_connection(("127.0.0.1", port), 2) as line:
            line.sendall(b"ask")
            print(line.recv(9).decode())
    except OSError:
        print("closed")
try:
    socket.create_connection(("1.1.1.1", 80), 2)
    print("open")
except OSError:
    print("closed")
"""
RUN_ELSEWHERE = """\
import os, sys
from pathlib import Path
import msgspec
from llamatrix.sandbox.spec import SandboxSpec
from llamatrix.trials.checks.execution_environment import run_in_sandbox
spec = msgspec.json.decode(sys.argv[1], type=SandboxSpec, dec_hook=lambda k, p: k(p))
run_in_sandbox(spec, Path(sys.argv[2]), "program", stdin="", timeout_s=99, on_line=print)
"""


class Case:
    """A shell script as a tool of a sandbox, and a workspace."""

    def __init__(
        self, folder: Path, script: str, monkeypatch: pytest.MonkeyPatch, **more: object
    ) -> None:
        program = folder / "program"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        self.workspace = folder / "workspace"
        self.workspace.mkdir()
        (self.workspace / "there.txt").write_text("mine\n")
        self.temporary = folder / "temporary"
        self.temporary.mkdir()
        monkeypatch.setattr("tempfile.tempdir", str(self.temporary))
        parts: dict[str, object] = {
            "bwrap": find_bwrap(find_project().cache),
            "tools": {"program": program},
            "environment": {"PATH": inside_path(), "HOME": str(HOME), "GIVEN": "yes"},
        }
        self.spec = SandboxSpec(**(parts | more))  # type: ignore[arg-type]

    def run(self, *words: str, stdin: str = "", timeout_s: float = 60) -> list[str]:
        lines: list[str] = []
        run_in_sandbox(
            self.spec,
            self.workspace,
            "program",
            *words,
            stdin=stdin,
            timeout_s=timeout_s,
            on_line=lines.append,
        )
        assert [path.name for path in self.workspace.iterdir()] == ["there.txt"]
        assert list(self.temporary.iterdir()) == []
        return lines


def processes_with(word: str) -> list[int]:
    processes = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and word in (entry / "cmdline").read_text():
                processes.append(int(entry.name))
        except OSError:
            continue
    return processes


def wait_for(word: str) -> list[int]:
    wait_until(lambda: processes_with(word))
    return processes_with(word)


@pytest.mark.slow
@pytest.mark.network
class TestRealSandbox:
    """bubblewrap itself, as a check uses it."""

    def test_program_gets_words_input_and_environment(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        script = 'echo "$1|$2|$GIVEN|$(cat)|$(cat there.txt)"; rm there.txt; printf end'
        case = Case(tmp_path, script, monkeypatch)
        lines = case.run("first word", "second", stdin="input")
        assert lines == ["first word|second|yes|input|mine", "end"]
        assert (case.workspace / "there.txt").read_text() == "mine\n"

    def test_nothing_outside_is_written_or_read(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        secret = tmp_path / "secret"
        secret.write_text("mine")
        script = f"cat {secret}; echo other > {secret}; touch /usr/x /x; env"
        lines = Case(tmp_path, script, monkeypatch).run()
        assert secret.read_text() == "mine"
        assert not [line for line in lines if "mine" in line or "LLAMATRIX" in line]

    def test_only_forwarded_ports_are_reached(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with loopback_listener() as served, loopback_listener() as other:
            ports = (served.getsockname()[1], other.getsockname()[1])
            probes = PROBES.format(served=SERVED, other=ports[1])
            script = f"python3 - <<'END'\n{probes}END"
            forwards = {SERVED: ports[0]}
            case = Case(tmp_path, script, monkeypatch, forwards=forwards)

            def answer() -> None:
                line, _ = served.accept()
                with line:
                    assert line.recv(9) == b"ask"
                    line.sendall(b"answer")

            service = threading.Thread(target=answer)
            service.start()
            assert case.run() == ["answer", "closed", "closed"]
            service.join()

    @pytest.mark.parametrize(
        "script",
        [
            "setsid sleep 7301 >&- 2>&- & exit 0",
            "for n in $(seq 400); do sleep 7301 & done; wait",
        ],
    )
    def test_process_left_running_is_ended(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str
    ) -> None:
        Case(tmp_path, script, monkeypatch).run()
        assert processes_with("7301") == []

    def test_a_program_that_does_not_end_is_ended(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        case = Case(tmp_path, "trap '' TERM; echo begun; sleep 7303", monkeypatch)
        assert case.run(timeout_s=3) == ["begun"]
        assert processes_with("7303") == []

    def test_judged_program_ends_with_the_harness(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        case = Case(tmp_path, "(sleep 7304; true) & sleep 7304; true", monkeypatch)
        spec = msgspec.json.encode(case.spec, enc_hook=str).decode()
        with subprocess.Popen(
            [sys.executable, "-c", RUN_ELSEWHERE, spec, str(case.workspace)],
            env={
                **os.environ,
                "TMPDIR": str(case.temporary),
                "PYTHONPATH": str(Path(llamatrix.__file__).parents[1]),
            },
        ) as parent:
            inside = wait_for("sleep\0007304")
            os.kill(parent.pid, signal.SIGKILL)
        assert all(gone_within(pid, 10) for pid in inside)
        wait_until(lambda: not list(case.temporary.iterdir()), within_s=20)

    def test_program_whose_sandbox_does_not_open_is_not_run(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        forbidden = tmp_path / "bwrap"
        forbidden.write_text("#!/bin/sh\necho 'bwrap: No permissions' >&2\nexit 1\n")
        forbidden.chmod(0o755)
        case = Case(tmp_path, "echo ran", monkeypatch, bwrap=forbidden)
        with pytest.raises(MeasureError, match="No permissions"):
            case.run()
