"""An agent's program while it is judged: in a real sandbox, and ended in every path."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from tests.trials.trying import files_with
from tests.waiting import gone_within, wait_until

from llamatrix import shell
from llamatrix.project import find_project
from llamatrix.provision.programs import find_bwrap
from llamatrix.proxy.serving import loopback_listener
from llamatrix.sandbox.spec import HOME, inside_path
from llamatrix.trials.checks.run_in_sandbox import ENCLOSURE, Enclosure
from llamatrix.trials.checks.sandbox_execution import sandbox_execution

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


def enclosure(program: Path, **more: object) -> Enclosure:
    parts: dict[str, object] = {
        "bwrap": str(find_bwrap(find_project().cache)),
        "online": False,
        "tools": {"program": str(program)},
        "shown": {},
        "environment": {"PATH": inside_path(), "HOME": str(HOME), "TOLD": "yes"},
        "hosts": {},
        "forwards": (),
    }
    return Enclosure(**(parts | more))  # type: ignore[arg-type]


class Enclosed:
    """The command line that a check runs a shell script with, and its workspace."""

    def __init__(self, folder: Path, script: str, **more: object) -> None:
        program = folder / "program"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        self.workspace = folder / "workspace"
        self.workspace.mkdir()
        (self.workspace / "there.txt").write_text("mine\n")
        self.aside = folder / "aside"
        self.aside.mkdir()
        execution = sandbox_execution(
            enclosure(program, **more), folder, requests=None, secrets=()
        )
        self.environment: Mapping[str, str] = {
            **execution.environment,
            "TMPDIR": str(self.aside),
        }
        self.argv = [
            *(
                word.replace("{workspace}", str(self.workspace))
                for word in execution.prefix
            ),
            *("program", "first word", "second"),
        ]

    def run(self, *, timeout_s: float = 60) -> shell.Ended:
        return shell.run(self.argv, timeout_s=timeout_s, env=self.environment)

    @contextmanager
    def begun(self) -> Iterator[subprocess.Popen[bytes]]:
        with shell.started(self.argv, env=self.environment) as process:
            yield process

    @property
    def files(self) -> dict[str, str]:
        return {
            path.relative_to(self.workspace).as_posix(): path.read_text()
            for path in self.workspace.rglob("*")
            if path.is_file()
        }


def processes_with(word: str) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and word in (entry / "cmdline").read_text():
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def wait_for(word: str) -> list[int]:
    wait_until(lambda: processes_with(word))
    return processes_with(word)


def test_what_it_is_opened_with_is_in_no_file_and_on_no_command_line(
    tmp_path: Path,
) -> None:
    closed = Enclosed(tmp_path, "true", environment={"KEY": "k" * 20})
    told = msgspec.json.decode(closed.environment[ENCLOSURE], type=Enclosure)
    assert told.environment == {"KEY": "k" * 20}
    assert "k" * 20 not in " ".join(closed.argv)
    assert files_with("k" * 20, tmp_path) == []


@pytest.mark.slow
@pytest.mark.network
class TestRealEnclosure:
    """bubblewrap itself, as a check uses it."""

    def test_output_words_and_exit_code_are_the_programs(self, tmp_path: Path) -> None:
        ended = Enclosed(
            tmp_path, 'echo "$1|$2|$TOLD"; echo oh >&2; printf end; exit 7'
        ).run()
        assert ended.returncode == 7
        assert ended.out == "first word|second|yes\nend\n"
        assert "oh" in ended.tail

    def test_a_signal_is_told_as_a_shell_tells_it(self, tmp_path: Path) -> None:
        assert Enclosed(tmp_path, "kill -9 $$").run().returncode == 137

    def test_files_come_back_and_what_uv_installs_does_not(
        self, tmp_path: Path
    ) -> None:
        script = (
            "cat there.txt; rm there.txt; mkdir -p new; echo n > new/file; mkdir -p "
            '"$UV_PROJECT_ENVIRONMENT"; echo x > "$UV_PROJECT_ENVIRONMENT/installed"; '
            "ln -s /etc away"
        )
        closed = Enclosed(tmp_path, script)
        ended = closed.run()
        assert ended.out == "mine\n", ended.complaint()
        assert closed.files == {"new/file": "n\n"}
        assert not (closed.workspace / "away").is_symlink()
        assert list(closed.aside.iterdir()) == []

    def test_nothing_outside_is_written_or_read(self, tmp_path: Path) -> None:
        secret = tmp_path / "secret"
        secret.write_text("mine")
        script = f"cat {secret}; echo spoilt > {secret}; touch /usr/x /x; env"
        ended = Enclosed(tmp_path, script).run()
        assert secret.read_text() == "mine"
        assert "mine" not in ended.out
        assert "LLAMATRIX" not in ended.out, "our own environment stays outside"

    def test_only_what_is_forwarded_is_reached(self, tmp_path: Path) -> None:
        with loopback_listener() as served, loopback_listener() as other:
            ports = (served.getsockname()[1], other.getsockname()[1])
            probes = PROBES.format(served=SERVED, other=ports[1])
            closed = Enclosed(
                tmp_path,
                f"python3 - <<'END'\n{probes}END",
                forwards=((SERVED, ports[0]),),
            )
            with closed.begun() as process:
                line, _ = served.accept()
                with line:
                    assert line.recv(9) == b"ask"
                    line.sendall(b"answer")
                assert process.stdout
                assert process.stdout.read() == b"answer\nclosed\nclosed\n"

    def test_what_it_leaves_running_is_ended_and_told(self, tmp_path: Path) -> None:
        closed = Enclosed(tmp_path, "setsid sleep 7301 >&- 2>&- & exit 0")
        ended = closed.run()
        assert ended.returncode == 0
        assert "left running, and ended: sleep" in ended.tail
        assert processes_with("7301") == []

    def test_too_many_processes_are_ended(self, tmp_path: Path) -> None:
        many = "for n in $(seq 400); do sleep 7302 & done; wait"
        ended = Enclosed(tmp_path, many).run()
        assert ended.limit is None
        assert ended.returncode != 0
        assert processes_with("7302") == []

    def test_a_program_that_never_ends_is_ended_with_its_folders(
        self, tmp_path: Path
    ) -> None:
        closed = Enclosed(tmp_path, "trap '' TERM; sleep 7303")
        ended = closed.run(timeout_s=3)
        assert ended.limit is shell.Limit.TOTAL
        assert processes_with("7303") == []
        assert list(closed.aside.iterdir()) == []
        assert closed.files == {"there.txt": "mine\n"}

    def test_it_does_not_outlive_whoever_asked_for_it(self, tmp_path: Path) -> None:
        closed = Enclosed(tmp_path, "(sleep 7304; true) & sleep 7304; true")
        parent = subprocess.Popen(
            [
                *(sys.executable, "-c"),
                "import sys; from llamatrix import shell; shell.run(sys.argv[1:], timeout_s=99)",
                *closed.argv,
            ],
            env=closed.environment,
        )
        inside = wait_for("sleep\0007304")
        os.kill(parent.pid, signal.SIGKILL)
        parent.wait()
        assert all(gone_within(pid, 10) for pid in inside)
        wait_until(lambda: not list(closed.aside.iterdir()), within_s=20)

    def test_without_a_sandbox_nothing_of_the_agents_runs(self, tmp_path: Path) -> None:
        forbidden = tmp_path / "bwrap"
        forbidden.write_text("#!/bin/sh\necho 'bwrap: No permissions' >&2\nexit 1\n")
        forbidden.chmod(0o755)
        closed = Enclosed(tmp_path, "touch ran", bwrap=str(forbidden))
        ended = closed.run()
        assert ended.returncode == 125
        assert "No permissions" in ended.tail[-1]
        assert "No permissions" in (tmp_path / "sandbox.lost").read_text()
        assert closed.files == {"there.txt": "mine\n"}
