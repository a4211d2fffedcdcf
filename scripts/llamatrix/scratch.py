"""Folders for what is short-lived: gone with their maker, even if that is killed.

Each is locked while it is in use. The orphan reaper removes those of a process that was killed
(`orphan_reaper.py`); where the orphan reaper was killed too, the next command does (`sweep`).
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from llamatrix import shell

_PREFIX = "llamatrix-scratch-"


@contextmanager
def scratch_folder(purpose: str) -> Iterator[Path]:
    """Make a folder that only we can enter, and remove it with all that is in it."""
    folder, lock = _locked_folder(purpose)
    shell.remove_when_killed(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        shell.remove_when_killed(folder, gone=not folder.exists())
        os.close(lock)


def temporary_folder() -> Path | None:
    """Return where temporary files are made; None where no folder can be written to."""
    try:
        return Path(tempfile.gettempdir())
    except FileNotFoundError:
        return None


def sweep() -> None:
    """Remove every folder whose maker is gone."""
    temporary = temporary_folder()
    for folder in temporary.glob(f"{_PREFIX}*") if temporary else ():
        with suppress(OSError):  # in use, gone meanwhile, or somebody else's
            lock = _open(folder)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.fstat(lock).st_uid == os.geteuid():
                    shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)


def _locked_folder(purpose: str) -> tuple[Path, int]:
    while True:
        folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{purpose}-"))
        try:
            lock = _open(folder)
        except FileNotFoundError:  # swept before it was locked
            continue
        fcntl.flock(lock, fcntl.LOCK_EX)
        if folder.exists():
            return folder, lock
        os.close(lock)


def _open(folder: Path) -> int:
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
