"""A control group for a sandbox, where this machine allows one.

The supervisor counts memory and threads several times a second; a control group limits
them at every moment. Without one only the supervisor's count applies.
"""

import os
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")
_PREFIX = "llamatrix-"
_JOIN = 'while [ "$1" != -- ]; do echo $$ > "$1/cgroup.procs"; shift; done; shift; exec "$@"'
_SLACK_BYTES = 256 << 20
"""Lets the supervisor act first: it reports which process it killed."""
_REMOVE_ROUNDS = 50
_STARTING_S = 60
"""A younger group without processes may be that of a sandbox that is just starting."""


@contextmanager
def limited(*, memory_bytes: int, threads: int) -> Iterator[tuple[Path, ...]]:
    """Create the possible groups, empty; remove them when the block is left."""
    most = str(memory_bytes + _SLACK_BYTES)
    made = []
    for folder, limits in _places():
        for stale in folder.glob(f"{_PREFIX}*"):
            with suppress(OSError):
                if time.time() - stale.stat().st_mtime > _STARTING_S:
                    _remove(stale)
        group = folder / f"{_PREFIX}{uuid.uuid4().hex[:12]}"
        with suppress(OSError):
            group.mkdir()
            made.append(group)
            for name in limits:
                value = str(threads) if name == "pids.max" else most
                (group / name).write_text("0" if "swap" in name else value)
    try:
        yield tuple(made)
    finally:
        for group in made:
            for _ in range(_REMOVE_ROUNDS):
                if _remove(group):
                    break
                time.sleep(0.01)  # the last process is just ending


def joining(groups: Sequence[Path], argv: Sequence[str]) -> tuple[str, ...]:
    if not groups:
        return tuple(argv)
    return ("/bin/sh", "-c", _JOIN, "sh", *map(str, groups), "--", *argv)


def _remove(group: Path) -> bool:
    """Remove a group without processes; return whether it is gone."""
    try:
        group.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _places() -> Iterator[tuple[Path, tuple[str, ...]]]:
    """Return the folders for groups, and the limit files of groups there."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        own = path.lstrip("/")
        limits: tuple[str, ...]
        if controllers == "memory":
            folder, limits = _ROOT / "memory" / own, ("memory.limit_in_bytes",)
        elif controllers == "pids":
            folder, limits = _ROOT / "pids" / own, ("pids.max",)
        elif not controllers:  # version 2: a group with processes has no subgroups
            folder = (_ROOT / own).parent if own else _ROOT
            limits = _version_2(folder)
        else:
            continue
        if limits and os.access(folder, os.W_OK):
            yield folder, limits


def _version_2(folder: Path) -> tuple[str, ...]:
    try:
        enabled = (folder / "cgroup.subtree_control").read_text().split()
    except OSError:
        return ()
    limits = {"memory": ("memory.max", "memory.swap.max"), "pids": ("pids.max",)}
    return tuple(name for key in limits if key in enabled for name in limits[key])
