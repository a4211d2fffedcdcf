"""End what the harness started after the harness itself has ended.

Linux' parent-death signal reaches direct children only, and a compiler is a grandchild.
So every program of the harness has a mark in its environment, and this small process,
in a session of its own, waits on a pipe that only the harness holds. When the pipe
closes, for whatever reason (`kill -9` included), it kills every process with the mark
and removes the harness's temporary folders, whose names arrive over the pipe.

Run as a program by `shell.py`; standard library only, so that it starts in
milliseconds: `python -I -S orphan_reaper.py MARK < pipe`.
"""

import os
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

MARK_VARIABLE = "LLAMATRIX_HARNESS"
_ROUNDS = 50  # processes may fork meanwhile: repeat until a round finds none


def marked_processes(mark: str, *, proc: Path = Path("/proc")) -> Iterator[int]:
    """Yield the ids of processes whose initial environment has the mark."""
    wanted = f"{MARK_VARIABLE}={mark}".encode()
    for entry in proc.iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            environment = (entry / "environ").read_bytes()
        except OSError:  # gone meanwhile, or another user's
            continue
        if wanted in environment.split(b"\0"):
            yield int(entry.name)


def end_marked(mark: str) -> None:
    for _ in range(_ROUNDS):
        processes = list(marked_processes(mark))
        if not processes:
            return
        for pid in processes:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue


def entry(folder: Path, *, gone: bool) -> bytes:
    """Return what the harness writes when it creates a folder, and when it removes it."""
    return (b"-" if gone else b"+") + os.fsencode(folder) + b"\0"


def remaining_folders(entries: bytes) -> set[Path]:
    """Return the folders that were created and not removed."""
    kept: set[bytes] = set()
    for each in entries.split(b"\0")[:-1]:
        if each.startswith(b"+"):
            kept.add(each[1:])
        else:
            kept.discard(each[1:])
    return {Path(os.fsdecode(name)) for name in kept}


def main() -> None:
    entries = sys.stdin.buffer.read()  # returns when the harness has ended
    end_marked(sys.argv[1])
    for folder in remaining_folders(entries):
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
