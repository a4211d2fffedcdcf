"""Cache entries that are either whole or not there: made aside, then renamed."""

import shutil
from collections.abc import Callable
from pathlib import Path

from llamatrix.exclusive import exclusive


def made_once(entry: Path, make: Callable[[Path], None], *, purpose: str) -> Path:
    """Return `entry`, calling `make` with a folder beside it where it is missing.

    A rename is the last step, so a crash leaves nothing that looks finished. Two
    processes that want the same entry wait for each other.
    """
    if entry.exists():
        return entry
    with exclusive(entry.with_name(f".{entry.name}.lock"), purpose=purpose):
        if entry.exists():
            return entry
        staging = entry.with_name(f".{entry.name}.staging")
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(parents=True)
        try:
            make(staging)
            staging.rename(entry)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    return entry
