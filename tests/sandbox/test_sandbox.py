import subprocess
import tarfile
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from llamatrix.config.matrix import Network
from llamatrix.project import find_project
from llamatrix.provision.programs import find_bwrap
from llamatrix.proxy.serving import loopback_listener
from llamatrix.sandbox.session import open_sandbox
from llamatrix.sandbox.spec import (
    HOME,
    SandboxSpec,
    User,
    bwrap_argv,
    inside_path,
    probe,
    supervisor_command,
)
from llamatrix.sandbox.supervisor import Job, Report
from llamatrix.sandbox.workspace_archive import pack, unpack_work

MIB = 1 << 20


def sandbox(**more: object) -> SandboxSpec:
    small: dict[str, object] = {"disk_bytes": 32 * MIB, "file_bytes": MIB}
    return SandboxSpec(**(small | more))  # type: ignore[arg-type]


def job(command: str, box: SandboxSpec) -> Job:
    env = {"PATH": inside_path(), "HOME": str(HOME)}
    return box.job(["/bin/sh", "-c", command], env=env, stdin="the prompt\n")


class SandboxRun:
    """What one shell command did in a real sandbox."""

    def __init__(
        self, folder: Path, command: str, box: SandboxSpec, *, stop_after_s: float = 30
    ) -> None:
        seed = folder / "seed"
        seed.mkdir()
        (seed / "seed.txt").write_text("seed")
        pack(folder / "in.tar", home={".local/a": b"mine"}, work=seed)
        box = replace(box, bwrap=find_bwrap(find_project().cache))
        self.complaints = folder / "complaints"
        self.complaints.touch()
        self.files = folder / "out.tar"
        self.lines: list[str] = []
        with open_sandbox(
            box, job(command, box), complaints=self.complaints
        ) as session:
            session.begin(folder / "in.tar")
            until = time.monotonic() + stop_after_s
            while not session.over():
                self.lines += session.hear(wait_s=0.05)
                if time.monotonic() > until:
                    session.stop()
                    break
            self.report: Report = session.finish(self.files)
            self.lines += session.last_words()
        unpack_work(self.files, folder / "out")
        self.work = folder / "out"


def read_home(files: Path, name: str) -> bytes:
    with tarfile.open(files) as archive:
        found = archive.extractfile(f"home/{name}")
        assert found
        return found.read()


def words(box: SandboxSpec) -> str:
    user = User(user_id=1000, own_namespace=True)
    command = supervisor_command(box, user)
    return " ".join(bwrap_argv(box, user, files={}, seccomp=None, command=command))


def test_a_hermetic_sandbox_has_a_network_of_its_own() -> None:
    line = words(sandbox(ports=(8099,)))
    assert "--unshare-net" in line
    assert line.endswith("/trial 1000 8099")
    assert "--die-with-parent" in line
    assert "--unshare-pid" in line


def test_an_online_sandbox_shares_the_network_and_opens_no_port() -> None:
    line = words(sandbox(ports=(8099,), network=Network.ONLINE))
    assert "--unshare-net" not in line
    assert line.endswith("/trial 1000")


def test_only_a_port_below_1024_needs_a_right() -> None:
    for line in (words(sandbox(ports=(8099,))), words(sandbox(ports=(8099, 443)))):
        assert "--uid 1000 --gid 1000" in line
        assert "--cap-drop ALL" in line
    assert "--cap-add" not in words(sandbox(ports=(8099,)))
    assert "--cap-add CAP_NET_BIND_SERVICE" in words(sandbox(ports=(8099, 443)))
    assert "--cap-add" not in words(sandbox(ports=(443,), network=Network.ONLINE))


def test_probe_without_sandboxes_names_the_remedy(tmp_path: Path) -> None:
    forbidden = tmp_path / "bwrap"
    forbidden.write_text("#!/bin/sh\necho 'bwrap: No permissions' >&2\nexit 1\n")
    forbidden.chmod(0o755)
    problem = probe(forbidden)
    assert problem
    assert problem.reason == "bwrap: No permissions"
    assert "max_user_namespaces" in problem.remedy
    missing = probe(tmp_path / "nothing")
    assert missing
    assert "install" in missing.remedy


def test_unpacked_link_stays_in_the_workspace(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "out.tar", "w") as archive:
        for name, link in (
            ("work/away", "/etc"),
            ("work/up", "../.."),
            ("work/near", "real.txt"),
            ("work/away/planted", None),
            ("work/../../escaped", None),
            ("work/real.txt", None),
        ):
            entry = tarfile.TarInfo(name)
            if link:
                entry.type, entry.linkname = tarfile.SYMTYPE, link
            archive.addfile(entry)
    unpack_work(tmp_path / "out.tar", tmp_path / "into" / "work")
    inside = tmp_path / "into" / "work"
    found = {path.relative_to(inside).as_posix() for path in inside.rglob("*")}
    assert found == {"away", "away/planted", "near", "real.txt"}
    assert not (inside / "away").is_symlink()
    assert not (tmp_path / "escaped").exists()


@pytest.mark.slow
@pytest.mark.network
class TestRealSandbox:
    """Real bubblewrap, as the user of the tests."""

    def test_files_of_a_session_go_in_and_come_out(self, tmp_path: Path) -> None:
        command = "cat; cat seed.txt; echo new > made; echo h > ~/kept; exit 3"
        ran = SandboxRun(tmp_path, command, sandbox())
        assert ran.lines == ["the prompt", "seed"]
        assert ran.report["exit_code"] == 3
        assert (ran.work / "made").read_text() == "new\n"
        assert read_home(ran.files, "kept") == b"h\n"
        assert read_home(ran.files, ".local/a") == b"mine"

    def test_nothing_of_this_machine_can_be_written_or_read(
        self, tmp_path: Path
    ) -> None:
        secret = tmp_path / "secret"
        secret.write_text("mine")
        command = (
            f"cat {secret}; ls /home /root/.cache; for p in /usr/x /etc/x /x /dev/x "
            "/opt/x; do touch $p; done; ls /proc | grep -c '^[0-9]'; id -u"
        )
        ran = SandboxRun(tmp_path, command, sandbox())
        assert "mine" not in " ".join(ran.lines)
        assert int(ran.lines[-1]) >= 1000
        assert int(ran.lines[-2]) < 10
        assert ran.complaints.read_text().count("Read-only file system") == 5

    def test_hermetic_sandbox_reaches_no_network(self, tmp_path: Path) -> None:
        with loopback_listener() as ours:
            port = ours.getsockname()[1]
            python = "import socket\nfor a in (('127.0.0.1', %d), ('1.1.1.1', 80)):\n"
            python += " try: socket.create_connection(a, 2); print('open')\n"
            python += " except OSError as e: print('closed')\n"
            ran = SandboxRun(tmp_path, f'python3 -c "{python % port}"', sandbox())
        assert ran.lines == ["closed", "closed"]

    def test_full_disk_leaves_large_files_out(self, tmp_path: Path) -> None:
        command = "head -c 100M /dev/zero > big; echo x > ~/ok; truncate -s 1T hole"
        ran = SandboxRun(tmp_path, command, sandbox())
        assert "No space left" in ran.complaints.read_text()
        assert set(ran.report["left_out"]) == {"work/hole", "work/big"}
        assert read_home(ran.files, "ok") == b"x\n"

    def test_too_many_processes_are_ended_and_the_files_come_out(
        self, tmp_path: Path
    ) -> None:
        command = "echo y > made; for n in $(seq 400); do sleep 600 & done; sleep 60"
        ran = SandboxRun(tmp_path, command, sandbox())
        assert ran.report["ran_away"]
        assert (ran.work / "made").read_text() == "y\n"

    def test_bytecode_does_not_come_out(self, tmp_path: Path) -> None:
        command = "mkdir -p p/__pycache__; touch p/a.py p/__pycache__/a.pyc"
        ran = SandboxRun(tmp_path, command, sandbox())
        assert (ran.work / "p" / "a.py").is_file()
        assert not (ran.work / "p" / "__pycache__").exists()
        assert ran.report["left_out"] == []

    def test_installed_files_come_out_last(self, tmp_path: Path) -> None:
        command = "mkdir -p .venv/a src/b; touch .venv/a/c src/b/d z ~/e"
        ran = SandboxRun(tmp_path, command, sandbox())
        with tarfile.open(ran.files) as archive:
            names = archive.getnames()
        last = ["work/.venv", "work/.venv/a", "work/.venv/a/c"]
        assert names[-3:] == last
        assert {"home/e", "work/src/b/d", "work/z"} <= set(names[:-3])

    def test_left_processes_are_reported_and_ended(self, tmp_path: Path) -> None:
        ran = SandboxRun(tmp_path, "setsid sleep 7123 >&- 2>&- & exit 0", sandbox())
        assert ran.report["left_running"] == ["sleep"]
        listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, check=True)
        assert b"sleep 7123" not in listed.stdout

    def test_a_stopped_program_ends_and_its_files_come_out(
        self, tmp_path: Path
    ) -> None:
        command = "trap '' TERM INT; echo z > made; sleep 60"
        ran = SandboxRun(tmp_path, command, sandbox(), stop_after_s=0.5)
        assert ran.report["stopped"]
        assert ran.report["exit_code"] == -9
        assert (ran.work / "made").read_text() == "z\n"

    def test_program_that_kills_all_processes_ends_only_itself(
        self, tmp_path: Path
    ) -> None:
        command = "sleep 60 & kill -9 -1; wait; echo z > made; kill -9 $$"
        ran = SandboxRun(tmp_path, command, sandbox())
        assert ran.report["exit_code"] == -9
        assert (ran.work / "made").read_text() == "z\n"

    def test_privileged_port_is_forwarded(self, tmp_path: Path) -> None:
        pack(tmp_path / "in.tar", home={}, work=tmp_path)
        python = "import socket; s = socket.create_connection(('service.test', 443))"
        python += "; s.sendall(b'ask'); print(s.recv(9).decode())"
        complaints = tmp_path / "complaints"
        with ExitStack() as held:
            ours = held.enter_context(loopback_listener())
            box = sandbox(
                bwrap=find_bwrap(find_project().cache),
                hosts={"service.test": "127.0.0.1"},
                forwards={443: ours.getsockname()[1]},
            )
            work = job(f'python3 -c "{python}"', box)
            opened = open_sandbox(box, work, complaints=complaints)
            session = held.enter_context(opened)
            assert session.listeners == ()
            session.begin(tmp_path / "in.tar")
            line, _ = ours.accept()
            with line:
                assert line.recv(9) == b"ask"
                line.sendall(b"answer")
            session.finish(tmp_path / "out.tar")
            assert session.last_words() == ("answer",)
