"""Run judged programs one after the other and report how each of them ended.

The plan comes as JSON on standard input, the reports leave as lines on standard output.
Each line carries a digest made with the plan's key, which judged programs never see, so
they can neither forge nor drop a report. Before each step the workspace is restored, and
what earlier steps left behind elsewhere is removed. Run as a program: `python -I -S`,
in the sandbox of judged code, so it imports nothing but the standard library.
"""

import base64
import contextlib
import ctypes
import hashlib
import hmac
import io
import json
import os
import re
import select
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TypedDict

_PR_SET_DUMPABLE = 4
_HEAD_CHARACTERS = 100_000
_TAIL_LINES = 20
_TAIL_CHARACTERS = 6_000
_REPORT_BYTES = 1 << 20
_CHUNK_BYTES = 1 << 16
_GRACE_S = 0.5
_KILL_ATTEMPTS = 50
_FILE_BYTES = 16 << 20
_FILES_BYTES = 48 << 20
_PART_BYTES = 48 << 10
"""Files leave in parts of this size: a line of output has a limit."""
_PROJECT = "project"
"""The project's environment, in the folder of what uv installs."""
_ATTEMPT_PAUSE_S = 0.01


class Step(TypedDict):
    """A `Program` of `session.py`, which explains its fields."""

    name: str
    words: list[str]
    without: list[str]
    timeout_s: float
    world: str
    needs: int
    until: str
    hand_out: str
    files: int
    installs: bool
    reports: bool


class Plan(TypedDict):
    key: str
    private: list[str]
    """Folders emptied before each step."""
    alone: bool
    """Whether every process here, except our parents, belongs to a step."""
    installed: str
    """Where uv installs packages: emptied after a step that changed one.

    If empty, uv installs them in `.venv` of the workspace, which then stays.
    """
    bytecode: str
    """Compiled modules of those packages; see `link_bytecode`."""
    switch: int
    """The port at which the service's world is changed."""
    environment_file: str
    """A pattern for the names of files that hold variables, such as `.env`."""
    steps: list[Step]


def main() -> None:
    # Judged programs run as our user: they must not read our memory.
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    plan: Plan = json.loads(sys.stdin.read())
    with Path("/dev/null").open() as nothing:
        os.dup2(nothing.fileno(), 0)
    runner = _Runner(plan)
    for number, step in enumerate(plan["steps"]):
        runner.run(number, step)


class _Runner:
    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._key = bytes.fromhex(plan["key"])
        self._lines = 0
        self._before = set(_processes()) if plan["alone"] else set()
        self._pristine = _packed(Path.cwd())
        self._installed: Listing | None = None
        self._worked: dict[int, str] = {}
        """The steps that did what they should, by number, with their names."""

    def run(self, number: int, step: Step) -> None:
        """Run a step unless it is not needed, and report it."""
        done = step["name"] in self._worked.values()
        if done or (step["needs"] >= 0 and step["needs"] not in self._worked):
            return
        self._prepare(number, step)
        begun = time.time()
        report = _run(step)
        if self._plan["alone"]:
            _end_all_but(self._before)
        finished = time.time()
        count = 0
        for name, content in _plain_files(step["hand_out"]):
            count += 1
            for at in range(0, max(len(content), 1), _PART_BYTES):
                part = base64.b64encode(content[at : at + _PART_BYTES]).decode()
                self._send({"kind": "part", "step": number, "file": name, "part": part})
        times = {"begun_s": begun, "ended_s": finished}
        self._send({"kind": "ended", "step": number, **times, **report})
        out = " ".join(str(report["out"]).split())
        good = report["code"] == 0 and not report["timed_out"]
        if good and step["until"] in out and count >= step["files"]:
            self._worked[number] = step["name"]
        if step["installs"]:
            self._pristine = _packed(Path.cwd())
            link_bytecode(self._plan["bytecode"], self._plan["installed"])
            self._installed = listing(self._plan["installed"])
        elif self._installed is not None:
            undo_changes(self._plan["installed"], self._installed)

    def _prepare(self, number: int, step: Step) -> None:
        if number:
            keep = () if self._plan["installed"] else (".venv",)
            _restore(Path.cwd(), self._pristine, keep=keep)
        for folder in self._plan["private"]:
            installed = Path(self._plan["installed"])
            inside = installed.parent == Path(folder)
            _empty(Path(folder), keep=(installed.name,) if inside else ())
        if step["hand_out"]:
            _remove(Path(step["hand_out"]))
        if step["without"]:
            remove_files(Path.cwd(), self._plan["environment_file"])
        if self._plan["switch"]:
            self._change_world(number, step["world"])

    def _change_world(self, number: int, world: str) -> None:
        command = f"{number} {world}"
        digest = hmac.new(self._key, f"world {command}".encode(), hashlib.sha256)
        address = ("127.0.0.1", self._plan["switch"])
        with socket.create_connection(address, 30) as connection:
            connection.sendall(f"{command} {digest.hexdigest()}\n".encode())
            if connection.recv(2) != b"ok":
                sys.exit("the service's world cannot be changed")

    def _send(self, content: dict[str, object]) -> None:
        """Print `LX NUMBER DIGEST JSON`."""
        text = json.dumps(content)
        signed = f"{self._lines} {text}".encode()
        digest = hmac.new(self._key, signed, hashlib.sha256).hexdigest()
        print(f"LX {self._lines} {digest} {text}", flush=True)  # noqa: T201
        self._lines += 1


def _run(step: Step) -> dict[str, object]:
    """Run the step's program, and read the report that it may write of its own."""
    environment = {k: v for k, v in os.environ.items() if k not in step["without"]}
    token = os.urandom(16).hex()
    with tempfile.TemporaryDirectory() as aside:
        path = Path(aside, "report")
        path.touch()
        stdin = f"{token} {path}\n".encode() if step["reports"] else b""
        with path.open("rb") as written:
            report = _run_program(step, environment, stdin)
            lines = written.read(_REPORT_BYTES).decode(errors="replace").splitlines()
    signed = [line[len(token) :] for line in lines if line.startswith(token)]
    return {**report, "report": signed}


def _run_program(
    step: Step, environment: dict[str, str], stdin: bytes
) -> dict[str, object]:
    """Run it, keep a part of its output, and kill its whole session."""
    try:
        process = subprocess.Popen(
            ["uv", "run", *step["words"]],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        return {"code": 127, "timed_out": False, "out": "", "tail": [f"uv: {error}"]}
    with process:
        if process.stdin:
            with contextlib.suppress(OSError):
                process.stdin.write(stdin)
                process.stdin.close()
        streams = [each for each in (process.stdout, process.stderr) if each]
        output = _Output(streams[0].fileno())
        timed_out = not _read(process, streams, output, time.time() + step["timeout_s"])
        with contextlib.suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)
        for each in streams:
            each.close()
    tail = output.last.splitlines()[-_TAIL_LINES:]
    code = process.returncode
    return {"code": code, "timed_out": timed_out, "out": output.out, "tail": tail}


def _read(
    process: "subprocess.Popen[bytes]",
    streams: list[IO[bytes]],
    output: "_Output",
    until: float,
) -> bool:
    """Read the output until the program has ended; return False where time ran out.

    Processes that it left running may keep the pipes open; they are not waited for.
    """
    waiting = [each.fileno() for each in streams]
    over_at: float | None = None
    while waiting:
        readable, _, _ = select.select(waiting, [], [], 0.02)
        for number in readable:
            chunk = os.read(number, _CHUNK_BYTES)
            if not chunk:
                waiting.remove(number)
            output.take(number, chunk)
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
        time.sleep(_ATTEMPT_PAUSE_S)
    return True


class _Output:
    """The beginning of standard output, and the end of both streams."""

    def __init__(self, stdout: int) -> None:
        self._stdout = stdout
        self.out = ""
        self.last = ""

    def take(self, number: int, chunk: bytes) -> None:
        text = chunk.decode(errors="replace")
        if number == self._stdout and len(self.out) < _HEAD_CHARACTERS:
            self.out += text[: _HEAD_CHARACTERS - len(self.out)]
        self.last = (self.last + text)[-_TAIL_CHARACTERS:]


def _processes() -> Iterator[int]:
    for name in os.listdir("/proc"):  # noqa: PTH208
        if name.isdigit():
            yield int(name)


def _end_all_but(before: set[int]) -> None:
    for _ in range(_KILL_ATTEMPTS):
        others = [pid for pid in _processes() if pid not in before]
        for pid in others:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if not others:
            return
        time.sleep(_ATTEMPT_PAUSE_S)


Listing = dict[str, tuple[int, int]]


def listing(folder: str) -> Listing:
    """Return the sizes and change times of all files of the project's environment.

    Of folders, whose names can be notes, it has the modes. No program can set a change
    time back, and bytecode is included: what a judged program compiled, or forged, does
    not reach the next one.
    """
    files = {}
    for here, folders, names in os.walk(Path(folder, _PROJECT)) if folder else ():
        for name in (*folders, *names):
            with contextlib.suppress(OSError):
                place = os.path.join(here, name)  # noqa: PTH118  thousands of them
                status = os.lstat(place)
                if stat.S_ISDIR(status.st_mode):
                    files[place] = (status.st_mode, 0)
                else:
                    files[place] = (status.st_size, status.st_ctime_ns)
    return files


def undo_changes(folder: str, before: Listing) -> None:
    """Leave only the project's environment, and only if it is unchanged.

    A step could otherwise pass notes to the next one. uv installs again what is missing.
    """
    if folder:
        changed = listing(folder) != before
        _empty(Path(folder), keep=() if changed else (_PROJECT,))


def link_bytecode(compiled: str, installed: str) -> None:
    """Link the compiled modules of the harness into the project's environment.

    They are in a read-only folder, `NAME-VERSION/…` for each package. Judged programs
    write no bytecode, so without these each of them would compile all that it imports.
    """
    packages = Path(installed, _PROJECT).glob("lib/python*/site-packages/*.dist-info")
    for metadata in packages if compiled else ():
        package = Path(compiled, metadata.stem)
        for here, folders, names in os.walk(package):
            place = metadata.parent / Path(here).relative_to(package)
            if here == str(package) and "__pycache__" in folders:
                (place / "__pycache__").mkdir(
                    exist_ok=True
                )  # several packages share it
            elif "__pycache__" in folders and place.is_dir():
                folders.remove("__pycache__")
                with contextlib.suppress(OSError):
                    (place / "__pycache__").symlink_to(Path(here, "__pycache__"))
            for name in names:
                with contextlib.suppress(OSError):
                    (place / name).symlink_to(Path(here, name))


def _packed(folder: Path) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        archive.add(folder, ".")
    return packed.getvalue()


def _restore(folder: Path, packed: bytes, *, keep: tuple[str, ...]) -> None:
    _empty(folder, keep=keep)
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extraction_filter = lambda entry, _: entry
        archive.extractall(folder)  # noqa: S202  our own, just packed


def _empty(folder: Path, *, keep: tuple[str, ...]) -> None:
    """Remove what is in a folder, except the entries of these names."""
    with contextlib.suppress(OSError):
        for entry in os.scandir(folder):
            if entry.name not in keep:
                _remove(Path(entry.path))
    folder.mkdir(parents=True, exist_ok=True)


def remove_files(folder: Path, pattern: str) -> None:
    """Remove the files and links of such a name; a folder may be an environment."""
    for here, _, names in os.walk(folder):
        for name in names:
            if re.fullmatch(pattern, name):
                _remove(Path(here, name))


def _remove(path: Path) -> None:
    """Remove a file or a folder, even if it is not writable."""
    with contextlib.suppress(OSError):
        if not path.is_dir() or path.is_symlink():
            path.unlink()
            return
        for here, folders, _ in os.walk(path):
            for folder in (".", *folders):
                with contextlib.suppress(OSError):
                    inner = Path(here, folder)
                    if not inner.is_symlink():
                        inner.chmod(0o700)
        shutil.rmtree(path, ignore_errors=True)


def _plain_files(name: str) -> Iterator[tuple[str, bytes]]:
    """Yield names and contents of the files that are not larger than an image may be."""
    folder = Path(name)
    if not name or folder.is_symlink() or not folder.is_dir():
        return
    left = _FILES_BYTES
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not path.is_file():
            continue
        size_bytes = path.stat().st_size
        if size_bytes <= min(_FILE_BYTES, left):
            left -= size_bytes
            inner = os.fsencode(path.relative_to(folder))
            yield inner.decode(errors="backslashreplace"), path.read_bytes()


if __name__ == "__main__":
    main()
