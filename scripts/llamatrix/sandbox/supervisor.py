"""The supervisor: the first process inside a trial's sandbox, and the last to leave.

It listens on the sandbox's loopback and passes the listening sockets to the harness (a
socket keeps the network namespace it was created in), unpacks the trial's files, runs
one program, kills everything that is left, and sends the files out. So the sandbox
needs no writable folder of this machine, and no relay.

The program cannot reach the supervisor: it is process 1 of their namespace, so no
signal of theirs arrives, and its memory cannot be read or traced. Where the harness is
root, the program runs as another user.

`spec.py` makes its command line, with the sandbox's Python; standard library only:
`supervisor ROOT USER_ID PORT…`, the connection to the harness as standard input.
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
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TypedDict

from llamatrix.sandbox import supervisor_files
from llamatrix.sandbox.supervisor_files import LENGTH

_POLL_S = 0.02
_POLLS_PER_COUNT = 3
_LEAVE_S = 0.5
_MAX_NAMES = 20
_KILL_ROUNDS = 200
_FEW = 48
"""Up to this number of processes there is a pause between polls; an agent needs 12."""
_LISTEN_BACKLOG = 128
_INODE_BYTES = 1024
"""The kernel memory of an empty file."""
THREADS_PER_PROCESS = 4
_OPEN_FILES = 4096
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE = 1, 4
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 47, 4


class Job(TypedDict):
    """What the harness asks for, as JSON."""

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
    """Of all files that are sent out, in the archive."""
    discarded: list[str]
    """Paths that are never sent out."""


class Report(TypedDict):
    """What happened, as JSON."""

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
    """Files that were too large, or too many, to be sent out."""


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
    _protect()  # again: changing the user undid a part of it
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
    """Return the connection to the harness, moved from where a child inherits it."""
    line = socket.socket(fileno=os.dup(0))
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.close(nothing)
    return line


def _protect() -> None:
    """Handle no signals, let no process read our memory, end when bubblewrap does."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    _prctl(_PR_SET_DUMPABLE, 0)
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _prctl(option: int, value: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0):
        raise OSError(ctypes.get_errno(), f"prctl({option})")


class _User:
    """The user that the program runs as: our own, or another one where we are root."""

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
    """Watches the program until it ends, exceeds a limit, or the harness stops it."""

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
        polls = 0
        while (status := _reaped(child)) is None:
            count = len(_processes())  # reading each is slow when it matters
            report["most_processes"] = max(report["most_processes"], count)
            report["ran_away"] = count > self._job["max_processes"]
            if polls % _POLLS_PER_COUNT == 0:
                self._count()
            polls += 1
            pause_s = _POLL_S if count < _FEW else 0.0
            readable, _, _ = select.select([self._line], [], [], pause_s)
            if readable:  # a byte from the harness, or its end; unread data resets it
                self._line.recv(1)
                report["stopped"] = True
            if report["ran_away"] or report["stopped"]:
                _end_others()
                status = _reaped(child, wait=True)
                break
        report["exit_code"] = os.waitstatus_to_exitcode(status or 0)
        if not report["stopped"] and not report["ran_away"]:
            report["left_running"] = _outlived()
        _end_others()
        return report

    def _count(self) -> None:
        """Count threads and memory; over the limit kill the largest process."""
        used_bytes, threads = self._files_bytes(), 0
        largest, largest_bytes = 0, 0
        for pid in _processes():
            own_bytes, own_threads = process_size(pid)
            used_bytes += own_bytes
            threads += own_threads
            if own_bytes >= largest_bytes:
                largest, largest_bytes = pid, own_bytes
        most_threads = THREADS_PER_PROCESS * self._job["max_processes"]
        if threads > most_threads:
            self._report["ran_away"] = True
        if used_bytes > self._job["max_memory_bytes"] and largest:
            mib = self._job["max_memory_bytes"] >> 20
            text = (
                f"sandbox: more than {mib} MiB of memory: killed {_name_of(largest)}\n"
            )
            with contextlib.suppress(ProcessLookupError):
                os.kill(largest, signal.SIGKILL)
            with contextlib.suppress(OSError):  # the program's stderr too: may be full
                os.write(2, text.encode(errors="backslashreplace"))

    def _files_bytes(self) -> int:
        """Return the size of all files, which are in memory here."""
        used_bytes = 0
        for disk in self._disks:
            state = os.statvfs(disk)
            used_bytes += (state.f_blocks - state.f_bfree) * state.f_frsize
            used_bytes += (state.f_files - state.f_ffree) * _INODE_BYTES
        return used_bytes


def _start(job: Job, user: _User) -> int:
    """Fork and execute without `subprocess`, which is used in `shell.py` only."""
    stdin = os.open("/tmp", os.O_TMPFILE | os.O_RDWR, 0o644)  # noqa: S108  not a pipe: the program may never read it
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
    """Set the kernel's limits; `_Watch` checks those that do not apply to root."""
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


def _processes() -> list[int]:
    """Return every process of the sandbox but this one."""
    names = os.listdir("/proc")  # noqa: PTH208
    return [int(name) for name in names if name.isdigit() and name != "1"]


def _others() -> list[int]:
    """Return the other processes that are not dead."""
    return [pid for pid in _processes() if not _is_dead(pid)]


def _is_dead(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return True
    return stat.rpartition(b")")[2].split()[0] in {b"Z", b"X"}


def _end_others() -> None:
    """Kill all other processes at once, until none is left."""
    for _ in range(_KILL_ROUNDS):
        with contextlib.suppress(ProcessLookupError):
            os.kill(-1, signal.SIGKILL)
        if not _others():
            return
        time.sleep(_POLL_S)


def process_size(pid: int) -> tuple[int, int]:
    """Return a process's memory in bytes and its threads; zeros when gone.

    That is memory without a file on a disk: what processes share counts for each.
    """
    try:
        status = Path(f"/proc/{pid}/status").read_bytes()
    except OSError:
        return 0, 0
    kib = _number(status, b"\nRssAnon:") + _number(status, b"\nRssShmem:")
    return kib << 10, _number(status, b"\nThreads:")


def _number(status: bytes, key: bytes) -> int:
    _, separator, rest = status.partition(key)
    return int(rest.split(None, 1)[0]) if separator else 0


def _reaped(child: int, *, wait: bool = False) -> int | None:
    """Return the child's status once it is dead; reap other dead processes too."""
    status = None
    with contextlib.suppress(ChildProcessError):
        if wait:
            return os.waitpid(child, 0)[1]
        while True:
            pid, wait_status = os.waitpid(-1, os.WNOHANG)
            if pid == child:
                status = wait_status
            if pid == 0:
                break
    return status


def _outlived() -> list[str]:
    """Return the names of processes that are left after a grace period."""
    until = time.monotonic() + _LEAVE_S
    while _others() and time.monotonic() < until:
        time.sleep(_POLL_S)
    return sorted(_name_of(pid) for pid in _others())[:_MAX_NAMES]


def _name_of(pid: int) -> str:
    try:
        name = Path(f"/proc/{pid}/comm").read_bytes()
    except OSError:
        return "?"
    return name.rstrip(b"\n").decode(errors="backslashreplace")
