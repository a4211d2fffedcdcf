"""Whom a sandbox's programs run as."""

import os
import random
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from llamatrix.errors import MeasureError

USER_ID = 1000
_SUPERVISOR_CAPABILITIES = {"CHOWN": 0, "KILL": 5, "SETGID": 6, "SETUID": 7}
"""Capabilities by number."""
_BUBBLEWRAPS = 21
"""CAP_SYS_ADMIN."""
_SETTINGS = (
    *("acpi", "bus", "driver", "dynamic_debug", "fs", "irq", "mtrr", "pressure"),
    *("scsi", "sys", "sysrq-trigger"),
)
_FREE_USERS = (1_879_048_192, 1_895_825_408)
_FEWER_FREE_USERS = (60_578, 60_705)
"""Where a container has but 65 536 users: systemd's list gives these to nobody."""


@dataclass(frozen=True, kw_only=True, slots=True)
class User:
    """Whom a sandbox's programs run as."""

    user_id: int
    own_namespace: bool
    """Whether the user is our own, under another number, in a user namespace.

    Root has a better way: a user of this machine that nothing belongs to. Kernel limits
    that do not hold for root hold for that one.
    """

    @property
    def words(self) -> list[str]:
        """The namespace's part of bubblewrap's command line."""
        if not self.own_namespace:
            return []
        number = str(self.user_id)
        return ["--unshare-user", "--uid", number, "--gid", number]

    @property
    def cover_words(self) -> list[str]:
        """What hides those settings where our own user is root all the same.

        bubblewrap does so itself unless it is in a user namespace.
        """
        if not self.own_namespace or os.geteuid():
            return []
        places = [
            place for name in _SETTINGS if (place := Path("/proc", name)).exists()
        ]
        return [word for place in places for word in ("--ro-bind", *(str(place),) * 2)]

    @property
    def supervisor_capabilities(self) -> list[str]:
        """Capabilities with which the supervisor, as root, gives the program its user."""
        return (
            []
            if self.own_namespace
            else [f"CAP_{name}" for name in _SUPERVISOR_CAPABILITIES]
        )


def our_user() -> User:
    """Return the user for a sandbox in which only programs of ours run."""
    return User(user_id=USER_ID, own_namespace=not _is_able())


def user_of_its_own(shown: Iterable[Path]) -> User:
    """Return the user for a sandbox that is shown these files of this machine.

    As root, it is one that no other sandbox has. MeasureError where that one could not
    read what it is shown: our own user, who could, may change this machine's settings.
    """
    if not _is_able():
        return User(user_id=USER_ID, own_namespace=True)
    for path in shown:
        if not _is_open_to_all(path):
            raise MeasureError(
                f"{path}: only some users can read it, and an agent runs as a user of "
                f"its own where the harness is root; `chmod -R o+rX {path}` opens it"
            )
    first, last = _FREE_USERS if _is_mapped(_FREE_USERS[1]) else _FEWER_FREE_USERS
    return User(user_id=random.randint(first, last), own_namespace=False)  # noqa: S311  to be distinct


@cache
def _is_able() -> bool:
    """Whether we are root with all that it takes to give a sandbox a user of its own."""
    status = Path("/proc/self/status").read_text()
    _, _, effective = status.partition("\nCapEff:")
    rights = int(effective.split(None, 1)[0], 16)
    needed = all(
        rights >> number & 1
        for number in (*_SUPERVISOR_CAPABILITIES.values(), _BUBBLEWRAPS)
    )
    return os.geteuid() == 0 and needed and _is_mapped(_FEWER_FREE_USERS[1])


def _is_mapped(user_id: int) -> bool:
    """Whether a user of this number can exist here: a container may have but some."""
    for line in Path("/proc/self/uid_map").read_text().splitlines():
        first, _, count = (int(word) for word in line.split())
        if first <= user_id < first + count:
            return True
    return False


def _is_open_to_all(path: Path) -> bool:
    """Whether every user of this machine may read it, once it can be reached."""
    try:
        mode = path.stat().st_mode
    except OSError:  # bubblewrap says what is missing
        return True
    wanted = 0o005 if path.is_dir() or mode & 0o100 else 0o004
    return mode & wanted == wanted
