"""The processes of a sandbox, seen from its first one: counted, buried and ended."""

import contextlib
import os
import signal
import time
from pathlib import Path

LOOK_EVERY_S = 0.02
_LEAVE_S = 0.5
_NAMES_TOLD = 20
_ROUNDS = 200


def processes() -> list[int]:
    """Every process of the sandbox but ourselves."""
    names = os.listdir("/proc")  # noqa: PTH208
    return [int(name) for name in names if name.isdigit() and name != "1"]


def _others() -> list[int]:
    """Those that are not dead."""
    return [pid for pid in processes() if not _is_dead(pid)]


def _is_dead(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return True
    return stat.rpartition(b")")[2].split()[0] in {b"Z", b"X"}


def end_others() -> None:
    """Kill everything at once, until a look finds nothing left."""
    for _ in range(_ROUNDS):
        with contextlib.suppress(ProcessLookupError):
            os.kill(-1, signal.SIGKILL)
        if not _others():
            return
        time.sleep(LOOK_EVERY_S)


def size(pid: int) -> tuple[int, int]:
    """Bytes of memory that are a process's own, and its threads; zeros when gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_bytes()
    except OSError:
        return 0, 0
    return _number(status, b"\nRssAnon:") << 10, _number(status, b"\nThreads:")


def _number(status: bytes, key: bytes) -> int:
    _, found, rest = status.partition(key)
    return int(rest.split(None, 1)[0]) if found else 0


def reaped(child: int, *, wait: bool = False) -> int | None:
    """The child's status once it is dead; whoever else is dead is buried as well."""
    status = None
    with contextlib.suppress(ChildProcessError):
        if wait:
            return os.waitpid(child, 0)[1]
        while True:
            pid, found = os.waitpid(-1, os.WNOHANG)
            if pid == child:
                status = found
            if pid == 0:
                break
    return status


def outlived() -> list[str]:
    """Who is still there when the program's own helpers had a moment to leave."""
    until = time.monotonic() + _LEAVE_S
    while _others() and time.monotonic() < until:
        time.sleep(LOOK_EVERY_S)
    return sorted(name_of(pid) for pid in _others())[:_NAMES_TOLD]


def name_of(pid: int) -> str:
    try:
        name = Path(f"/proc/{pid}/comm").read_bytes()
    except OSError:
        return "?"
    return name.rstrip(b"\n").decode(errors="backslashreplace")
