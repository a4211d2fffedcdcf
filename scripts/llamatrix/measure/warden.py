"""The warden: the first program inside a trial's sandbox, and the last to leave.

It listens on the sandbox's own loopback and hands the listening sockets out to the
harness (a socket keeps the network it was made in), takes the trial's files in, runs
one program, ends everything that is left, and hands the files out. So the sandbox
needs no folder of this machine that can be written, and no relay.

Run as a program by `sandbox.py`, with the sandbox's Python; standard library only:
`python -I -S warden.py SOCKET ROOT PORT…`.
"""

import contextlib
import io
import json
import os
import resource
import select
import signal
import socket
import struct
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TypedDict

LENGTH = struct.Struct("!Q")
WHOLE = b"all of it\n"  # the last bytes handed out: else the files were cut off
_LOOK_EVERY_S = 0.02
_LEAVE_S = 0.5
_FEW = 48  # processes: then there is time between two looks; OpenCode needs a dozen
_NAMES_TOLD = 20
_LISTEN_BACKLOG = 128
_ROUNDS = 200
_NOT_CARRIED = (
    *("home/.cache", "home/.npm", "home/tmp", "home/.config", "home/.opencode"),
    *("work/.opencode", "work/opencode.json", "work/opencode.jsonc"),
)  # a plugin that the agent left would run inside the agent program of the next turn
INSTALLED = (".venv", "node_modules")
"""What package managers put into the workspace: thousands of files, handed out last."""
_MADE_AGAIN = "__pycache__"  # thousands of files, and Python writes them when missed
_COPY_BYTES = 1 << 16


class Job(TypedDict):
    """What the harness asks for."""

    argv: list[str]
    cwd: str
    env: dict[str, str]
    stdin: str
    max_processes: int
    max_file_bytes: int
    max_files: int


class Report(TypedDict):
    """What the warden says when the program is over."""

    exit_code: int
    """Negative for a signal."""
    stopped: bool
    """Ended because the harness asked for it."""
    most_processes: int
    ran_away: bool
    """Ended because there were too many processes."""
    left_running: list[str]
    """Names of the processes that outlived the program, and were ended."""
    left_out: list[str]
    """Files too large, or too many, to be handed out."""


def main() -> None:
    door, root, *ports = sys.argv[1:]
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(door)
        _hand_out_listeners(line, [int(port) for port in ports])
        job: Job = json.loads(_read_exactly(line, _read_length(line)))
        _take_files_in(line, Path(root))
        report = _run(line, job)
        names = list(_carried(Path(root), job, report["left_out"]))
        text = json.dumps(report).encode()
        line.sendall(LENGTH.pack(len(text)) + text)
        with line.makefile("wb") as sink:
            _hand_files_out(sink, Path(root), names)
            sink.write(WHOLE)


def _hand_out_listeners(line: socket.socket, ports: list[int]) -> None:
    listeners = []
    for port in ports:
        listener = socket.socket(socket.AF_INET)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(_LISTEN_BACKLOG)
        listeners.append(listener)
    socket.send_fds(line, [b"!"], [listener.fileno() for listener in listeners])
    for listener in listeners:
        listener.close()


def _read_length(line: socket.socket) -> int:
    (length,) = LENGTH.unpack(_read_exactly(line, LENGTH.size))
    return int(length)


def _read_exactly(line: socket.socket, count: int) -> bytes:
    parts = bytearray()
    while len(parts) < count:
        part = line.recv(min(count - len(parts), _COPY_BYTES))
        if not part:
            sys.exit("the harness is gone")
        parts += part
    return bytes(parts)


class _Bounded(io.RawIOBase):
    """So many bytes of a line, as a file to read."""

    def __init__(self, line: socket.socket, count: int) -> None:
        self._line = line
        self._rest = count

    def read(self, count: int = -1, /) -> bytes:
        part = _read_exactly(self._line, min(count, self._rest))
        self._rest -= len(part)
        return part


def _take_files_in(line: socket.socket, root: Path) -> None:
    source = _Bounded(line, _read_length(line))
    with tarfile.open(fileobj=source, mode="r|") as archive:
        archive.extraction_filter = _as_it_is  # 3.11.3 and older have no argument
        archive.extractall(root)  # noqa: S202  our own tar
    while source.read(_COPY_BYTES):  # what fills up the last block
        pass
    (root / "home" / "tmp").mkdir(parents=True, exist_ok=True)


def _as_it_is(entry: tarfile.TarInfo, _path: str) -> tarfile.TarInfo:
    return entry


def _run(line: socket.socket, job: Job) -> Report:
    """Start the program and watch over it until it, or the harness's patience, ends."""
    report = Report(
        exit_code=0,
        stopped=False,
        most_processes=0,
        ran_away=False,
        left_running=[],
        left_out=[],
    )
    child = _start(job)
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            break
        count = len(_processes())  # no look at each: that is slow when it matters
        report["most_processes"] = max(report["most_processes"], count)
        report["ran_away"] = count > job["max_processes"]
        patience_s = _LOOK_EVERY_S if count < _FEW else 0.0
        readable, _, _ = select.select([line], [], [], patience_s)
        if readable:  # a word from the harness, or its end; unread it cuts the line
            line.recv(1)
            report["stopped"] = True
        if report["ran_away"] or report["stopped"]:
            _end_others()
            _, status = os.waitpid(child, 0)
            break
    report["exit_code"] = os.waitstatus_to_exitcode(status)
    if not report["stopped"] and not report["ran_away"]:
        report["left_running"] = _outlived()
    _end_others()
    return report


def _outlived() -> list[str]:
    """Who is still there when the program's own helpers had a moment to leave."""
    until = time.monotonic() + _LEAVE_S
    while _others() and time.monotonic() < until:
        time.sleep(_LOOK_EVERY_S)
    names = []
    for pid in _others():
        with contextlib.suppress(OSError):
            names.append(Path(f"/proc/{pid}/comm").read_text().strip())
    return sorted(names)[:_NAMES_TOLD]


def _start(job: Job) -> int:
    """Fork and execute: `subprocess` has one home, and this is not it."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(writer)
            os.dup2(reader, 0)
            os.chdir(job["cwd"])
            limit = 4 * job["max_processes"]  # threads count; root's are not limited
            with contextlib.suppress(ValueError, OSError):
                resource.setrlimit(resource.RLIMIT_NPROC, (limit, limit))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            os.execve(job["argv"][0], job["argv"], job["env"])  # noqa: S606
        except OSError as error:
            os.write(2, f"{job['argv'][0]}: {error}\n".encode())
        os._exit(127)
    os.close(reader)
    feeder = os.fork()
    if feeder == 0:  # the program may never read: another process waits for that
        with contextlib.suppress(OSError), os.fdopen(writer, "wb") as pipe:
            pipe.write(job["stdin"].encode())
        os._exit(0)
    os.close(writer)
    return pid


def _processes() -> list[int]:
    """Every process of the sandbox but its first and ourselves."""
    mine = {"1", str(os.getpid())}
    names = os.listdir("/proc")  # noqa: PTH208
    return [int(name) for name in names if name.isdigit() and name not in mine]


def _others() -> list[int]:
    """Those that are not dead."""
    return [pid for pid in _processes() if not _is_dead(pid)]


def _is_dead(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return True
    return stat.rpartition(b")")[2].split()[0] in {b"Z", b"X"}


def _end_others() -> None:
    """Kill everything at once, until a look finds nothing left."""
    for _ in range(_ROUNDS):
        with contextlib.suppress(ProcessLookupError):
            os.kill(-1, signal.SIGKILL)
        if not _others():
            return
        time.sleep(_LOOK_EVERY_S)


def _carried(root: Path, job: Job, left_out: list[str]) -> Iterator[str]:
    """The names to hand out, parents first: work, home, then what is installed.

    What is too much is told.
    """
    count = 0
    installed = [f"work/{name}" for name in INSTALLED]
    pending = [name for name in installed if os.path.lexists(root / name)]
    pending += ["home", "work"]
    while pending:
        name = pending.pop()
        path = root / name
        if name in _NOT_CARRIED or path.name == _MADE_AGAIN:
            continue
        try:
            size_bytes = path.lstat().st_size
            inner = os.scandir(path) if path.is_dir() and not path.is_symlink() else ()
            within = (f"{name}/{entry.name}" for entry in inner)
            pending += [one for one in within if one not in installed]
        except OSError:
            left_out.append(name)
            continue
        count += 1
        if size_bytes > job["max_file_bytes"] or not _is_readable(path):
            left_out.append(name)
        elif count > job["max_files"]:
            left_out.append("… and the rest: too many files")
            return
        else:
            yield name


def _is_readable(path: Path) -> bool:
    """A link, or a folder or file that may be read; no pipe, no device."""
    plain = path.is_dir() or path.is_file()
    return path.is_symlink() or (plain and os.access(path, os.R_OK))


def _hand_files_out(sink: IO[bytes], root: Path, names: list[str]) -> None:
    with tarfile.open(fileobj=sink, mode="w|") as archive:
        for name in names:
            with contextlib.suppress(OSError):
                archive.add(root / name, name, recursive=False, filter=_unowned)


def _unowned(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry


if __name__ == "__main__":
    main()
