"""The supervisor: the first process inside a trial's sandbox, and the last to leave.

It listens on the sandbox's own loopback and hands the listening sockets out to the
harness (a socket keeps the network it was made in), takes the trial's files in, runs
one program, ends everything that is left, and hands the files out. So the sandbox
needs no folder of this machine that can be written, and no relay.

The program and all it starts are out of the supervisor's way and it is out of their reach.
It is process 1 of their namespace, so no signal of theirs arrives, and its memory
cannot be read or traced. Where the harness is root, they run as a user of their own.

Run as a program by `sandbox.py`, with the sandbox's Python; standard library only:
`supervisor ROOT USER_ID PORT…`, the harness's line as its standard input.
"""

import contextlib
import ctypes
import json
import os
import resource
import select
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TypedDict

from llamatrix.sandbox import supervisor_files, supervisor_processes
from llamatrix.sandbox.supervisor_files import LENGTH
from llamatrix.sandbox.supervisor_processes import LOOK_EVERY_S

_LOOKS_PER_COUNT = 3
_FEW = 48
"""Processes up to which there is time between two looks: an agent needs a dozen."""
_LISTEN_BACKLOG = 128
_INODE_BYTES = 1024
"""What an empty file takes of the kernel's memory."""
THREADS_PER_PROCESS = 4
_OPEN_FILES = 4096
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE = 1, 4
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 47, 4


class Job(TypedDict):
    """What the harness asks for."""

    argv: list[str]
    cwd: str
    env: dict[str, str]
    stdin: str
    max_processes: int
    max_memory_bytes: int
    """Of all processes and files together."""
    max_file_bytes: int
    max_files: int
    max_total_bytes: int
    """Of all files that are handed out, in the archive."""
    discarded: list[str]
    """Paths that are never handed out."""


class Report(TypedDict):
    """What the supervisor says when the program is over."""

    exit_code: int
    """Negative for a signal."""
    stopped: bool
    """Ended because the harness asked for it."""
    most_processes: int
    ran_away: bool
    """Ended because there were too many processes or threads."""
    left_running: list[str]
    """Names of the processes that outlived the program, and were ended."""
    left_out: list[str]
    """Files too large, or too many, to be handed out."""


def main() -> None:
    root, user_id, *ports = sys.argv[1:]
    line = _take_line()
    _hand_out_listeners(line, [int(port) for port in ports])
    user = _User(int(user_id))
    _protect()
    job: Job = json.loads(supervisor_files.read_exactly(line, _read_length(line)))
    user.own(Path(root) / "home", Path(root) / "work", 1, 2)
    with user.acting():
        supervisor_files.take_in(line, Path(root), _read_length(line))
    _protect()  # changing the user has undone a part of it
    report = _Watch(line, job, Path(root)).see_through(_start(job, user))
    user.become()
    names, report["left_out"] = supervisor_files.choose(
        Path(root),
        max_file_bytes=job["max_file_bytes"],
        max_files=job["max_files"],
        max_total_bytes=job["max_total_bytes"],
        discarded=frozenset(job["discarded"]),
    )
    text = json.dumps(report).encode()
    line.sendall(LENGTH.pack(len(text)) + text)
    with line.makefile("wb") as sink:
        supervisor_files.hand_out(sink, Path(root), names)


def _take_line() -> socket.socket:
    """The harness's line, no longer where a child would inherit it."""
    line = socket.socket(fileno=os.dup(0))
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.close(nothing)
    return line


def _protect() -> None:
    """Leave no signal a handler, no process our memory; end when bubblewrap does."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    _prctl(_PR_SET_DUMPABLE, 0)
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _prctl(option: int, value: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0):
        raise OSError(ctypes.get_errno(), f"prctl({option})")


class _User:
    """Whom the program runs as: ourselves, or where we are root somebody of its own."""

    def __init__(self, user_id: int) -> None:
        self._id = user_id
        self._other = os.geteuid() != user_id

    def own(self, *places: Path | int) -> None:
        for place in places if self._other else ():
            os.chown(place, self._id, self._id)

    @contextlib.contextmanager
    def acting(self) -> Iterator[None]:
        if not self._other:
            yield
            return
        os.setegid(self._id)
        os.seteuid(self._id)
        yield
        os.seteuid(0)
        os.setegid(0)

    def become(self) -> None:
        if self._other:
            os.setgroups([])
            os.setresgid(self._id, self._id, self._id)
            os.setresuid(self._id, self._id, self._id)


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
    (length,) = LENGTH.unpack(supervisor_files.read_exactly(line, LENGTH.size))
    return int(length)


class _Watch:
    """Watches over the program until it, or the harness's patience, ends."""

    def __init__(self, line: socket.socket, job: Job, root: Path) -> None:
        self._line = line
        self._job = job
        self._disks = [root / "home", root / "work", Path("/tmp"), Path("/dev/shm")]  # noqa: S108  the sandbox's own
        self._report = Report(
            exit_code=0,
            stopped=False,
            most_processes=0,
            ran_away=False,
            left_running=[],
            left_out=[],
        )

    def see_through(self, child: int) -> Report:
        report = self._report
        looks = 0
        while (status := supervisor_processes.reaped(child)) is None:
            count = len(
                supervisor_processes.processes()
            )  # no look at each: that is slow when it matters
            report["most_processes"] = max(report["most_processes"], count)
            report["ran_away"] = count > self._job["max_processes"]
            if looks % _LOOKS_PER_COUNT == 0:
                self._count()
            looks += 1
            patience_s = LOOK_EVERY_S if count < _FEW else 0.0
            readable, _, _ = select.select([self._line], [], [], patience_s)
            if readable:  # a word from the harness, or its end; unread it cuts the line
                self._line.recv(1)
                report["stopped"] = True
            if report["ran_away"] or report["stopped"]:
                supervisor_processes.end_others()
                status = supervisor_processes.reaped(child, wait=True)
                break
        report["exit_code"] = os.waitstatus_to_exitcode(status or 0)
        if not report["stopped"] and not report["ran_away"]:
            report["left_running"] = supervisor_processes.outlived()
        supervisor_processes.end_others()
        return report

    def _count(self) -> None:
        """Look at threads and memory; over the limit the largest process is killed."""
        used_bytes, threads = self._files_bytes(), 0
        largest, largest_bytes = 0, 0
        for pid in supervisor_processes.processes():
            own_bytes, own_threads = supervisor_processes.size(pid)
            used_bytes += own_bytes
            threads += own_threads
            if own_bytes >= largest_bytes:
                largest, largest_bytes = pid, own_bytes
        most_threads = THREADS_PER_PROCESS * self._job["max_processes"]
        if threads > most_threads:
            self._report["ran_away"] = True
        if used_bytes > self._job["max_memory_bytes"] and largest:
            mib = self._job["max_memory_bytes"] >> 20
            text = f"sandbox: more than {mib} MiB of memory: killed {supervisor_processes.name_of(largest)}\n"
            with contextlib.suppress(ProcessLookupError):
                os.kill(largest, signal.SIGKILL)
            with contextlib.suppress(OSError):  # the agent's too: it may be full
                os.write(2, text.encode(errors="backslashreplace"))

    def _files_bytes(self) -> int:
        """What the files take, in memory like everything here."""
        used_bytes = 0
        for disk in self._disks:
            state = os.statvfs(disk)
            used_bytes += (state.f_blocks - state.f_bfree) * state.f_frsize
            used_bytes += (state.f_files - state.f_ffree) * _INODE_BYTES
        return used_bytes


def _start(job: Job, user: _User) -> int:
    """Fork and execute: `subprocess` has one home, and this is not it."""
    stdin = os.open("/tmp", os.O_TMPFILE | os.O_RDWR, 0o644)  # noqa: S108  no pipe: the program may never read
    with open(stdin, "wb", closefd=False) as text:
        text.write(job["stdin"].encode(errors="replace"))
    os.lseek(stdin, 0, os.SEEK_SET)
    pid = os.fork()
    if pid == 0:
        try:
            os.dup2(stdin, 0)
            os.closerange(3, 1 << 16)
            _limit(job)
            user.become()
            _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
            os.chdir(job["cwd"])
            os.execve(job["argv"][0], job["argv"], job["env"])  # noqa: S606
        except OSError as error:
            os.write(2, f"{job['argv'][0]}: {error}\n".encode())
        os._exit(127)
    os.close(stdin)
    return pid


def _limit(job: Job) -> None:
    """The kernel's own limits; some do not hold for root, `_Watch` looks at those."""
    threads = THREADS_PER_PROCESS * job["max_processes"]
    for what, most in (
        (resource.RLIMIT_NPROC, threads),
        (resource.RLIMIT_NOFILE, _OPEN_FILES),
        (resource.RLIMIT_CORE, 0),
    ):
        soft, hard = resource.getrlimit(what)
        hard = most if hard == resource.RLIM_INFINITY else min(most, hard)
        soft = hard if soft == resource.RLIM_INFINITY else min(soft, hard)
        resource.setrlimit(what, (soft, hard))
