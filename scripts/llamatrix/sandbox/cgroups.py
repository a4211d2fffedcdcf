"""A control group for a sandbox, where this machine lets us make one.

The supervisor counts memory and threads itself, some times a second; the kernel never lets
them grow beyond. Without a group the supervisor's count alone holds.
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
"""The supervisor acts first: it knows which process is to blame, and says so."""
_ROUNDS = 50


@contextmanager
def limited(*, memory_bytes: int, threads: int) -> Iterator[tuple[Path, ...]]:
    """Make the groups that can be made, empty; they are gone when the block is left."""
    most = str(memory_bytes + _SLACK_BYTES)
    made = []
    for folder, limits in _places():
        for stale in folder.glob(f"{_PREFIX}*"):
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
            for _ in range(_ROUNDS):
                if _remove(group):
                    break
                time.sleep(0.01)  # the last process is just leaving


def joining(groups: Sequence[Path], argv: Sequence[str]) -> tuple[str, ...]:
    """The command as a member of the groups from its start."""
    if not groups:
        return tuple(argv)
    return ("/bin/sh", "-c", _JOIN, "sh", *map(str, groups), "--", *argv)


def _remove(group: Path) -> bool:
    """Remove a group nobody is in."""
    try:
        group.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _places() -> Iterator[tuple[Path, tuple[str, ...]]]:
    """Where groups may be made, and which of their files hold limits."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        own = path.lstrip("/")
        limits: tuple[str, ...]
        if controllers == "memory":
            folder, limits = _ROOT / "memory" / own, ("memory.limit_in_bytes",)
        elif controllers == "pids":
            folder, limits = _ROOT / "pids" / own, ("pids.max",)
        elif not controllers:  # version 2: a group that has processes has no groups
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
