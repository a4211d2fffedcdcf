"""Runs judged programs one after the other and reports how each of them ended.

The plan comes as JSON on standard input, the reports leave as lines on standard output:
each carries a digest made with the plan's key, which judged programs never see, so they
can neither forge nor drop a report. Before every step the workspace is what it was, and
what earlier steps left behind elsewhere is gone. Run as a program: `python -I -S`.
"""

import contextlib
import ctypes
import hashlib
import hmac
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    from llamatrix.trials.checks.inside import folders
else:
    beside = Path(__file__).with_name("folders.py")
    folders = types.SimpleNamespace(**runpy.run_path(str(beside)))

_PR_SET_DUMPABLE = 4
_HEAD_CHARACTERS = 100_000
_TAIL_LINES = 20
_TAIL_CHARACTERS = 6_000
_REPORT_BYTES = 1 << 20
_CHUNK_BYTES = 1 << 16
_GRACE_S = 0.5
_TRIES = 50


class Step(TypedDict):
    name: str
    argv: list[str]
    env: dict[str, str]
    """Added to ours."""
    unset: list[str]
    timeout_s: float
    world: str
    """The one that the service is to be in; empty where that cannot be changed."""
    needs: int
    """The number of a step without which, or -1, this one is left out if it failed."""
    until: str
    """With it in the output the step has worked; later ones of its name are left out."""
    hand_out: str
    """A folder whose plain files are handed out when the step is over."""
    files: int
    """With fewer of them the step has not worked."""
    remove: str
    """A folder removed beforehand."""
    installs: bool
    """Whether what it leaves in the workspace, such as uv's lock, stays."""
    report: bool
    """Whether the program writes a report of its own (see `run_tests.py`)."""


class Plan(TypedDict):
    key: str
    private: list[str]
    """Folders emptied before each step."""
    alone: bool
    """Whether every process here but our parents belongs to a step."""
    installed: str
    """Where uv keeps what it installs: made anew after a step that changed it."""
    bytecode: str
    """A folder of compiled modules for it; see `folders.link_bytecode`."""
    switch: int
    """The port at which the service's world is changed."""
    steps: list[Step]


def main() -> None:
    """Become unreadable for judged programs first: their user is ours."""
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    plan: Plan = json.loads(sys.stdin.read())
    with Path("/dev/null").open() as nothing:
        os.dup2(nothing.fileno(), 0)
    send = _Sender(bytes.fromhex(plan["key"])).send
    runner = _Runner(plan=plan, send=send)
    for number, step in enumerate(plan["steps"]):
        runner.take(number, step)
    send({"over": True})


class _Runner:
    def __init__(
        self, *, plan: Plan, send: Callable[[dict[str, object]], None]
    ) -> None:
        self._plan = plan
        self._send = send
        self._before = set(_processes()) if plan["alone"] else set()
        self._pristine = folders.packed(Path.cwd())
        self._installed: folders.Listing | None = None
        self._worked: dict[int, str] = {}
        """Numbers and names of the steps that did what they were to do."""

    def take(self, number: int, step: Step) -> None:
        """Do a step unless it is not needed, and report it."""
        done = step["name"] in self._worked.values()
        if done or (step["needs"] >= 0 and step["needs"] not in self._worked):
            return
        self._prepare(number, step)
        begun = time.time()
        ended = _run(step)
        if self._plan["alone"]:
            _end_all_but(self._before)
        finished = time.time()
        count = 0
        for name, content in folders.plain_files(step["hand_out"]):
            count += 1
            for part in folders.parts(content):
                self._send({"step": number, "file": name, "part": part})
        self._send({"step": number, "begun_s": begun, "ended_s": finished, **ended})
        out = " ".join(str(ended["out"]).split())
        good = ended["code"] == 0 and not ended["timed_out"]
        if good and step["until"] in out and count >= step["files"]:
            self._worked[number] = step["name"]
        if step["installs"]:
            self._pristine = folders.packed(Path.cwd())
            folders.link_bytecode(self._plan["bytecode"], self._plan["installed"])
            self._installed = folders.listing(self._plan["installed"])
        elif self._installed is not None:
            folders.undo_changes(self._plan["installed"], self._installed)

    def _prepare(self, number: int, step: Step) -> None:
        if number:
            folders.restore(Path.cwd(), self._pristine)
        for folder in self._plan["private"]:
            folders.empty(Path(folder))
        if step["remove"]:
            folders.remove(Path(step["remove"]))
        if step["world"] and self._plan["switch"]:
            key = bytes.fromhex(self._plan["key"])
            _change_world(self._plan["switch"], key, number, step["world"])


def _change_world(port: int, key: bytes, number: int, world: str) -> None:
    said = f"{number} {world}"
    digest = hmac.new(key, f"world {said}".encode(), hashlib.sha256).hexdigest()
    with socket.create_connection(("127.0.0.1", port), 30) as line:
        line.sendall(f"{said} {digest}\n".encode())
        if line.recv(2) != b"ok":
            sys.exit("the service's world cannot be changed")


class _Sender:
    """Numbered lines with a digest: `LX NUMBER DIGEST JSON`."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._number = 0

    def send(self, content: dict[str, object]) -> None:
        text = json.dumps(content)
        signed = f"{self._number} {text}".encode()
        digest = hmac.new(self._key, signed, hashlib.sha256).hexdigest()
        print(f"LX {self._number} {digest} {text}", flush=True)  # noqa: T201
        self._number += 1


def _run(step: Step) -> dict[str, object]:
    environment = {**os.environ, **step["env"]}
    for name in step["unset"]:
        environment.pop(name, None)
    token = os.urandom(16).hex()
    with tempfile.TemporaryDirectory() as aside:
        report = Path(aside, "report")
        report.touch()
        given = f"{token} {report}\n".encode() if step["report"] else b""
        with report.open("rb") as written:
            ended = _watched(step, environment, given)
            lines = written.read(_REPORT_BYTES).decode(errors="replace").splitlines()
    told = [line[len(token) :] for line in lines if line.startswith(token)]
    return {**ended, "report": told}


def _watched(
    step: Step, environment: dict[str, str], given: bytes
) -> dict[str, object]:
    """The step's program, its output cut to size; its whole session is ended."""
    try:
        process = subprocess.Popen(
            step["argv"],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        return _ended(127, "", [f"{step['argv'][0]}: {error}"], timed_out=False)
    with process:
        if process.stdin:
            with contextlib.suppress(OSError):
                process.stdin.write(given)
                process.stdin.close()
        streams = [each for each in (process.stdout, process.stderr) if each]
        kept = _Kept(streams[0].fileno())
        timed_out = not _read(process, streams, kept, time.time() + step["timeout_s"])
        with contextlib.suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)
        for each in streams:
            each.close()
    return _ended(process.returncode, kept.out, kept.tail, timed_out=timed_out)


def _read(
    process: "subprocess.Popen[bytes]",
    streams: list[IO[bytes]],
    kept: "_Kept",
    until: float,
) -> bool:
    """Take the output until the program has ended; False where time ran out first.

    What it left running may keep the pipes open: they are not waited for.
    """
    waiting = [each.fileno() for each in streams]
    over_at: float | None = None
    while waiting:
        readable, _, _ = select.select(waiting, [], [], 0.02)
        for number in readable:
            chunk = os.read(number, _CHUNK_BYTES)
            if not chunk:
                waiting.remove(number)
            kept.take(number, chunk)
        now = time.time()
        if now > until:
            return False
        if process.poll() is not None:
            over_at = over_at or now
            if now > over_at + _GRACE_S:
                break
    while process.poll() is None:
        if time.time() > until:
            return False
        time.sleep(0.01)
    return True


class _Kept:
    """The beginning of standard output, and the last lines of both streams."""

    def __init__(self, out: int) -> None:
        self._out = out
        self.out = ""
        self._last = ""

    @property
    def tail(self) -> list[str]:
        return self._last.splitlines()[-_TAIL_LINES:]

    def take(self, number: int, chunk: bytes) -> None:
        text = chunk.decode(errors="replace")
        if number == self._out and len(self.out) < _HEAD_CHARACTERS:
            self.out += text[: _HEAD_CHARACTERS - len(self.out)]
        self._last = (self._last + text)[-_TAIL_CHARACTERS:]


def _ended(
    code: int, out: str, tail: list[str], *, timed_out: bool
) -> dict[str, object]:
    return {"code": code, "timed_out": timed_out, "out": out, "tail": tail}


def _processes() -> Iterator[int]:
    for name in os.listdir("/proc"):  # noqa: PTH208
        if name.isdigit():
            yield int(name)


def _end_all_but(before: set[int]) -> None:
    """Kill what a step left running, until a look finds nothing."""
    for _ in range(_TRIES):
        others = [pid for pid in _processes() if pid not in before]
        for pid in others:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if not others:
            return
        time.sleep(0.01)


if __name__ == "__main__":
    main()
