"""Lanes over pipes: children on this host, and on others by ssh.

A lane is one child: of a card, which it sees alone, or of a whole host.
"""

import os
import selectors
import shlex
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

import llamatrix
from llamatrix import shell
from llamatrix.errors import BenchError, MatrixError, MeasureError
from llamatrix.lines import LineSplitter
from llamatrix.orphan_reaper import MARK_VARIABLE
from llamatrix.project import Project

_OURS = "LLAMATRIX_"
_SSH = (
    *("ssh", "-T", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10"),
    *("-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=4"),
)
"""Without a password prompt; a cut of less than a minute is waited out."""
_GRACE_S = 2.0
_CHUNK_BYTES = 1 << 16
_TAIL_LINES = 3


class LaneLostError(BenchError):
    """The child of a lane is gone: its process, its host or the way to it."""

    exit_code = MeasureError.exit_code


class Lane(Protocol):
    """A child at the other end."""

    def send(self, line: bytes) -> None:
        """LaneLostError where it is gone."""

    def receive(self, timeout_s: float) -> Sequence[bytes]:
        """Return the next lines, none where none came in time; LaneLostError at the end."""

    def close(self) -> None:
        """End the child, however it is; callable from any thread, and again."""


class Transport(Protocol):
    """How children on a set of hosts are started."""

    def hosts(self) -> Sequence[str]:
        """Name the hosts that there are now; the driver asks again and again."""

    def open(self, host: str, card: int | None) -> Lane:
        """Start a child that sees this card alone, or the whole host."""

    def close(self) -> None: ...


class PipeLane:
    """A child behind the pipes of a process: itself, or ssh."""

    def __init__(self, argv: Sequence[str], env: Mapping[str, str], cwd: Path) -> None:
        self._stack = ExitStack()
        its_end, our_end = os.pipe()
        try:
            self._process = self._stack.enter_context(
                shell.started(argv, env=env, cwd=cwd, stdin=its_end, grace_s=_GRACE_S)
            )
        finally:
            os.close(its_end)
        self._stdin = our_end
        self._splitter = LineSplitter()
        self._errors: deque[str] = deque(maxlen=_TAIL_LINES)
        self._pipes = self._stack.enter_context(selectors.DefaultSelector())
        for pipe in filter(None, (self._process.stdout, self._process.stderr)):
            self._pipes.register(pipe, selectors.EVENT_READ)

    def send(self, line: bytes) -> None:
        try:
            while line:
                line = line[os.write(self._stdin, line) :]
        except OSError as error:
            raise self._lost() from error

    def receive(self, timeout_s: float) -> Sequence[bytes]:
        try:
            return self._receive(time.monotonic() + timeout_s)
        except (OSError, ValueError, KeyError) as error:  # closed by another thread
            raise LaneLostError("closed") from error

    def _receive(self, until: float) -> Sequence[bytes]:
        while (left := until - time.monotonic()) > 0:
            for key, _ in self._pipes.select(left):
                chunk = os.read(key.fd, _CHUNK_BYTES)
                if key.fileobj is self._process.stdout:
                    if not chunk:
                        raise self._lost()
                    if lines := self._splitter.feed(chunk):
                        return lines
                elif chunk:
                    self._errors.extend(chunk.decode(errors="replace").splitlines())
                else:
                    self._pipes.unregister(key.fileobj)
        return ()

    def close(self) -> None:
        if self._stdin >= 0:
            os.close(self._stdin)  # the child's input ends, and with it the child
            self._stdin = -1
        self._stack.close()

    def _lost(self) -> LaneLostError:
        shell.end_group(self._process, grace_s=_GRACE_S)
        for key in list(self._pipes.get_map().values()):
            if key.fileobj is self._process.stderr:
                rest = os.read(key.fd, _CHUNK_BYTES).decode(errors="replace")
                self._errors.extend(rest.splitlines())
        last = "; ".join(line for line in self._errors if line.strip())
        code = self._process.returncode
        return LaneLostError(last or f"the child ended with exit code {code}")


def child_argv(driver: str, card: int | None) -> tuple[str, ...]:
    lane = "host" if card is None else f"card-{card}"
    return (sys.executable, "-m", "llamatrix.cluster.child", driver, lane)


def child_environment(card: int | None, outer: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of a child; a card is numbered as nvidia-smi numbers it."""
    env = {name: value for name, value in outer.items() if name != MARK_VARIABLE}
    sources = str(Path(llamatrix.__file__).parents[1])
    env["PYTHONPATH"] = os.pathsep.join(filter(None, (sources, env.get("PYTHONPATH"))))
    if card is not None:
        env |= {"CUDA_VISIBLE_DEVICES": str(card), "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    return env


class LocalTransport:
    """One child for each card of this host."""

    def __init__(self, project: Project, driver: str) -> None:
        self._project = project
        self._driver = driver

    def hosts(self) -> Sequence[str]:
        return ("local",)

    def open(self, _host: str, card: int | None) -> Lane:
        env = child_environment(card, os.environ)
        return PipeLane(child_argv(self._driver, card), env, self._project.root)

    def close(self) -> None:
        return


class SshTransport:
    """Checkout and Python are at the same paths on every host."""

    def __init__(self, hosts: Sequence[str], project: Project, driver: str) -> None:
        self._hosts = tuple(hosts)
        self._project = project
        self._driver = driver

    def hosts(self) -> Sequence[str]:
        return self._hosts

    def open(self, host: str, card: int | None) -> Lane:
        ours = {k: v for k, v in os.environ.items() if k.startswith(_OURS)}
        words = [f"{k}={v}" for k, v in child_environment(card, ours).items()]
        program = shlex.join(["env", *words, *child_argv(self._driver, card)])
        command = f"cd {shlex.quote(str(self._project.root))} && exec {program}"
        argv = (*_SSH, host, command)
        return PipeLane(argv, os.environ, self._project.root)

    def close(self) -> None:
        return


def open_transport(spec: str, project: Project, driver: str) -> Transport:
    """`local`, `ssh:BOX,BOX`, or Ray's `auto` or `HOST:PORT`; MatrixError otherwise."""
    if spec == "local":
        return LocalTransport(project, driver)
    scheme, _, rest = spec.partition(":")
    if scheme == "ssh":
        hosts = [host.strip() for host in rest.split(",") if host.strip()]
        bad = [host for host in hosts if host.startswith("-")]
        if not hosts or bad or len(set(hosts)) < len(hosts):
            raise MatrixError(f"--cluster {spec!r}: name each box once: ssh:box1,box2")
        return SshTransport(hosts, project, driver)
    if spec == "auto" or rest.isdigit():
        from llamatrix.cluster.ray import RayTransport

        return RayTransport(spec, project, driver)
    raise MatrixError(
        f"--cluster {spec!r}: write local, ssh:box1,box2, auto, or HOST:PORT of Ray's head"
    )
