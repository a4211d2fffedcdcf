"""Waiting in tests for what other processes and threads do."""

import time
from collections.abc import Callable
from pathlib import Path


def wait_until(condition: Callable[[], object], *, within_s: float = 60) -> None:
    """Return when the condition holds; fail where it does not hold in time."""
    until = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < until, f"did not happen within {within_s:g} s"
        time.sleep(0.01)


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie that nobody reaped does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def gone_within(pid: int, seconds: float) -> bool:
    until = time.monotonic() + seconds
    while alive(pid):
        if time.monotonic() > until:
            return False
        time.sleep(0.01)
    return True
