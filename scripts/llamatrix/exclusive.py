"""One at a time: a lock file between processes, with a word about the wait."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from llamatrix.progress import say


@contextmanager
def exclusive(path: Path, *, purpose: str) -> Iterator[None]:
    """Hold the lock file; when another process has it, say so and wait.

    The kernel lets go of the lock when its holder dies, however it dies.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        say(f"waiting for process {holder_of(path)} before {purpose}")
        lock.acquire()
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


def _holder_file(path: Path) -> Path:
    return path.with_name(f"{path.name}.holder")
