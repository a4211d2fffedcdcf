"""Hosts of a test: namespaces of network, processes, mounts and name, on one bridge.

Each has its own locks, as hosts have; checkout and cache are at the same paths, as on a
shared disk. Nothing is simulated but the hardware: sshd and Ray are the real ones.
"""

import itertools
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.waiting import wait_until

NETWORK = f"10.77.{os.getpid() % 250}"
"""Another one for each process that runs tests."""
_LINKS = itertools.count()
_SSHD = Path("/usr/sbin/sshd")
_LOCKS = f"/tmp/llamatrix-{os.getuid()}"  # noqa: S108  as in `measuring.py`
_ENDS_WITH_US = ("setpriv", "--pdeathsig", "KILL")
"""Before a command: it is killed when the process that runs the test is."""


@dataclass(kw_only=True)
class Host:
    """One of them."""

    name: str
    address: str
    link: str
    """Its end of the cable, on the bridge."""
    init: subprocess.Popen[bytes]
    """The first process; with it all others of the host end."""

    @property
    def pid(self) -> int:
        """The first process inside, as this machine numbers it."""
        path = Path(f"/proc/{self.init.pid}/task/{self.init.pid}/children")
        return int(path.read_text().split()[0])

    def plug(self, *, out: bool) -> None:
        _run("ip", "link", "set", self.link, "down" if out else "up")

    def inside(self, *argv: str) -> list[str]:
        """Return the command that runs another one on the host."""
        return ["nsenter", "-t", str(self.pid), "-n", "-m", "-u", "-p", "--", *argv]

    def processes(self, word: str) -> list[int]:
        """Ids, on this machine, of the host's processes whose command has a word."""
        own = Path(f"/proc/{self.pid}/ns/pid").readlink()
        found = []
        for entry in Path("/proc").iterdir():
            with suppress(OSError, ValueError):
                if (entry / "ns/pid").readlink() == own:
                    words = (entry / "cmdline").read_bytes().split(b"\0")
                    if any(word.encode() in one for one in words):
                        found.append(int(entry.name))
        return found

    def kill(self, word: str, number: signal.Signals = signal.SIGKILL) -> None:
        for pid in self.processes(word):
            os.kill(pid, number)

    def end(self) -> None:
        self.init.kill()
        self.init.wait()


@dataclass(kw_only=True)
class Boxes:
    folder: Path
    """Keys and the client's configuration."""
    bridge: str
    stack: ExitStack
    hosts: dict[str, Host] = field(default_factory=dict)

    def add(
        self, name: str, *, setup: str = "true", ssh: bool = True, options: str = ""
    ) -> Host:
        """Start a host; `setup` is a shell command that runs there first.

        `options` are those of its sshd.
        """
        number = len(self.hosts) + 2
        address = f"{NETWORK}.{number}"
        link = f"lm{os.getpid() % 10000}-{next(_LINKS)}"
        inner = f"{link}i"
        server = f"exec {_SSHD} -D -e -f {self.folder}/sshd_config {options}"
        script = (
            f"hostname {name}; mkdir -p {_LOCKS} && mount -t tmpfs none {_LOCKS};"
            "read _ || exit; exec </dev/null;"
            f"ip link set lo up; ip addr add {address}/24 dev {inner};"
            f"ip link set {inner} up; mkdir -p /run/sshd; {setup};"
            + (server if ssh else "exec sleep 600")
        )
        unshare = ("unshare", "--net", "--mount", "--uts", "--ipc", "--pid", "--fork")
        with (self.folder / f"{name}.log").open("wb") as log:
            init = subprocess.Popen(
                [
                    *(*_ENDS_WITH_US, *unshare, "--kill-child", "--mount-proc"),
                    *("sh", "-c", script),
                ],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        host = Host(name=name, address=address, link=link, init=init)
        self.stack.callback(host.end)
        children = Path(f"/proc/{init.pid}/task/{init.pid}/children")
        wait_until(lambda: children.read_text().strip(), within_s=10)
        _run("ip", "link", "add", link, "type", "veth", "peer", "name", inner)
        _run("ip", "link", "set", inner, "netns", str(host.pid))
        _run("ip", "link", "set", link, "master", self.bridge, "up")
        assert init.stdin
        with init.stdin as ready:
            ready.write(b"\n")
        self.hosts[name] = host
        with (self.folder / "config").open("a") as config:
            config.write(f"Host {name}\n  HostName {address}\n")
        if ssh:
            wait_until(lambda: self._answers(name), within_s=20)
        return host

    def environment(self, env: dict[str, str]) -> dict[str, str]:
        """Return an environment whose ssh knows the hosts."""
        kept = {k: v for k, v in env.items() if k != "LLAMATRIX_LOCKS"}
        return {**kept, "PATH": f"{self.folder}:{env['PATH']}"}

    def _answers(self, name: str) -> bool:
        ended = subprocess.run(
            [str(self.folder / "ssh"), name, "true"],
            capture_output=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        return ended.returncode == 0


@contextmanager
def open_boxes(folder: Path) -> Iterator[Boxes]:
    """Make a bridge for hosts; skip the test where namespaces cannot be had."""
    for program in ("ip", "unshare", "nsenter", "setpriv"):
        if shutil.which(program) is None:
            pytest.skip(f"no `{program}` here, so no hosts in namespaces")
    if os.getuid() != 0:
        pytest.skip("hosts in namespaces need root")
    bridge = f"lm{os.getpid() % 10000}-br"
    with ExitStack() as stack:
        made = _run("ip", "link", "add", bridge, "type", "bridge", check=False)
        probe = _run(
            "unshare", "--net", "--mount", "--pid", "--fork", "true", check=False
        )
        if made or probe:
            if not made:
                _run("ip", "link", "del", bridge)
            pytest.skip("network namespaces cannot be made here")
        # also when we are killed: then its input ends
        remover = subprocess.Popen(
            ["sh", "-c", f"read _; ip link del {bridge}"],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        stack.callback(remover.communicate)
        _run("ip", "addr", "add", f"{NETWORK}.1/24", "dev", bridge)
        _run("ip", "link", "set", bridge, "up")
        folder.mkdir(exist_ok=True)
        folder.chmod(0o700)
        yield Boxes(folder=folder, bridge=bridge, stack=stack)


def with_ssh(boxes: Boxes) -> Boxes:
    """Write keys and configurations of sshd and ssh; skip where there is no sshd."""
    if not _SSHD.exists() or shutil.which("ssh") is None:
        pytest.skip("no sshd here")
    folder = boxes.folder
    for name in ("host", "user"):
        _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name))
    shutil.copy(folder / "user.pub", folder / "authorized")
    (folder / "sshd_config").write_text(
        f"HostKey {folder}/host\nAuthorizedKeysFile {folder}/authorized\n"
        "StrictModes no\nUsePAM no\nPidFile none\nPermitRootLogin yes\n"
    )
    (folder / "config").write_text(
        f"IdentityFile {folder}/user\nStrictHostKeyChecking no\nLogLevel ERROR\n"
        "UserKnownHostsFile /dev/null\n"
    )
    wrapper = folder / "ssh"
    wrapper.write_text(
        f'#!/bin/sh\nexec {shutil.which("ssh")} -F {folder}/config "$@"\n'
    )
    wrapper.chmod(0o755)
    return boxes


def start(*arguments: str, env: dict[str, str], cwd: Path) -> subprocess.Popen[str]:
    """Start a command of ours; what it says is in its pipes."""
    return subprocess.Popen(
        [*_ENDS_WITH_US, sys.executable, "-m", "invoke", *arguments],
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for_lines(path: Path, count: int, *, within_s: float = 180) -> None:
    """Wait until there are that many records below a folder."""

    def lines() -> int:
        files: Sequence[Path] = list(path.rglob("*.jsonl"))
        return sum(file.read_bytes().count(b"\n") for file in files)

    until = time.monotonic() + within_s
    while lines() < count:
        assert time.monotonic() < until, f"{lines()} of {count} records"
        time.sleep(0.05)


def _run(*argv: str, check: bool = True) -> int:
    return subprocess.run(
        argv, check=check, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ).returncode
