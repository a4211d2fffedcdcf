"""One measurement at a time on each card of a host, and on a host that it uses whole.

The locks are on the host itself, never in a cache, which hosts may share. A process that
CUDA_VISIBLE_DEVICES limits to some cards holds those; any other holds the whole host.
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from llamatrix.exclusive import exclusive, holder_of
from llamatrix.nvml import card_indices, find_library

LOCKS = "LLAMATRIX_LOCKS"
"""Another folder for the locks; measurements exclude each other only within one."""


@contextmanager
def measuring(*, purpose: str = "measuring") -> Iterator[None]:
    """Hold the cards that this process sees, in one order for all processes."""
    with ExitStack() as stack:
        for name in _names():
            stack.enter_context(exclusive(_folder() / name, purpose=purpose))
        yield


def measuring_processes() -> tuple[int, ...]:
    """Return the processes that measured last on each card of this host."""
    holders = (holder_of(path) for path in _folder().glob("*.lock"))
    return tuple({int(holder) for holder in holders if holder.isdigit()})


def _names() -> tuple[str, ...]:
    visible, present = card_indices(find_library())
    if visible and len(visible) < present:
        return tuple(f"card-{index}.lock" for index in sorted(visible))
    cards = (f"card-{index}.lock" for index in range(present))
    return (*cards, "host.lock")


def _folder() -> Path:
    """Not below TMPDIR or XDG_RUNTIME_DIR: shells, sshd and schedulers differ in those."""
    named = os.environ.get(LOCKS)
    return Path(named or f"/tmp/llamatrix-{os.getuid()}")  # noqa: S108
