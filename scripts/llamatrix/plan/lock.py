"""The types of `matrix.lock`: what every pin of the matrix resolved to.

Read here; written by `provision/resolve.py`.
"""

from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from llamatrix.errors import MatrixError
from llamatrix.plan.complaint import complaints
from llamatrix.plan.load import read_toml
from llamatrix.plan.matrix import Commit, Key, Matrix

LOCK_VERSION = 1

Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]
NarHash = Annotated[str, Meta(pattern=r"^sha256-[A-Za-z0-9+/]{43}=$")]
"""An SRI hash of the tree's NAR serialisation, as Nix's fetchers take it."""


class LockedPin(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    package: str
    version: str
    sdist_sha256: Sha256
    commit: Commit
    nar_hash: NarHash


class Lock(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    lock_version: Annotated[int, Meta(ge=1, le=LOCK_VERSION)]
    pins: dict[Key, LockedPin]


def load_lock(path: Path) -> Lock:
    if not path.exists():
        raise MatrixError(f"{path.name}: not found; `invoke lock` writes it")
    raw = read_toml(path)
    found = [f"{path.name}: {line}" for line in complaints(raw, Lock)]
    if found:
        raise MatrixError("\n".join([*found, "`invoke lock` writes it anew"]))
    return msgspec.convert(raw, type=Lock)


def locked_pin(matrix: Matrix, lock: Lock, name: str) -> LockedPin:
    """The lock's entry for a pin, or MatrixError where the two files disagree."""
    pin = matrix.pins[name]
    locked = lock.pins.get(name)
    if locked is None:
        raise MatrixError(f"matrix.lock: pins.{name}: not locked; run `invoke lock`")
    for key in ("package", "version", "commit"):
        asked, got = getattr(pin, key), getattr(locked, key)
        if asked != got:
            raise MatrixError(
                f"matrix.lock: pins.{name}.{key}: locked {got!r}, but matrix.toml "
                f"asks {asked!r}; run `invoke lock`"
            )
    return locked
