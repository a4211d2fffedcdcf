"""One at a time: a lock file between processes, with a word about the wait."""

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from llamatrix.progress import say

_LOOK_EVERY_S = 10.0
_LONGEST_COMMAND = 80
_STOPPED = "T"


@contextmanager
def exclusive(path: Path, *, purpose: str) -> Iterator[None]:
    """Hold the lock file; when another process has it, say which and wait.

    The kernel lets go of the lock when its holder dies, however it dies. A holder that
    is stopped keeps it: the waiting process says so.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    said = ""
    try:
        lock.acquire(timeout=0)
    except Timeout:
        while not lock.is_locked:
            if (text := f"waiting for {_described(path)} before {purpose}") != said:
                say(text)
                said = text
            with suppress(Timeout):
                lock.acquire(timeout=_LOOK_EVERY_S)
    try:
        _sign(path)
        yield
    finally:
        _holder_file(path).unlink(missing_ok=True)
        lock.release()


def _sign(path: Path) -> None:
    """Leave our process id beside the lock for whoever waits."""
    _holder_file(path).write_text(str(os.getpid()))


def holder_of(path: Path) -> str:
    """Return the process that holds the lock, or died with it."""
    try:
        return _holder_file(path).read_text()
    except OSError:
        return "(unknown)"


def _described(path: Path) -> str:
    """Return the holder, since when, what it runs, and the remedy where it is stopped."""
    pid = holder_of(path)
    try:
        since = datetime.fromtimestamp(_holder_file(path).stat().st_mtime, UTC)
        folder = Path("/proc") / pid
        command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").strip()
        state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
    except OSError:  # it ends just now, or this system has no /proc
        return f"process {pid}"
    text = command.decode(errors="replace")
    if len(text) > _LONGEST_COMMAND:
        text = f"...{text[-_LONGEST_COMMAND:]}"
    remedy = (
        f", which is stopped: `kill -CONT {pid}` lets it go on, `kill -KILL {pid}` "
        "ends it,"
        if state == _STOPPED
        else ""
    )
    return (
        f"process {pid} on {platform.node()} ({text}) that has held the lock since "
        f"{since:%Y-%m-%d %H:%M:%SZ}{remedy}"
    )


def _holder_file(path: Path) -> Path:
    return path.with_name(f"{path.name}.holder")
