"""One thing that `invoke doctor` found out about this machine."""

from enum import StrEnum

import msgspec


class State(StrEnum):
    OK = "ok"
    MISSING = "missing"
    DAMAGED = "damaged"
    """It is there, and is not what was put there."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the report, one object of `--json`."""

    subject: str
    state: State
    found: str
    remedy: str
    """What now; empty where nothing is amiss."""


def finding(subject: str, found: str, remedy: str, *, ok: bool) -> Finding:
    """The remedy is dropped where nothing is amiss."""
    return Finding(
        subject=subject,
        state=State.OK if ok else State.MISSING,
        found=found,
        remedy="" if ok else remedy,
    )
