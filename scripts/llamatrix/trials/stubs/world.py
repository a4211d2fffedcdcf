"""What a service's stand-in answers: as the real one does, or otherwise on purpose.

A judged program cannot see in which of these worlds it runs except by asking the
service. What it does in one and not in another therefore depends on the answers.
"""

import hashlib
import hmac
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from anyio.abc import SocketStream

from llamatrix.sandbox.forwarding import Handler

_LONGEST = 256


class World(StrEnum):
    REAL = "real"
    """As the public service answers."""
    OTHER = "other"
    """Well-formed answers with another content, different for every request."""
    FAILING = "failing"
    """Status 500 for every call that the task is about."""
    EMPTY = "empty"
    """Texts are empty and numbers are 0."""
    NULL = "null"
    """Every value is null."""


@dataclass(kw_only=True, slots=True)
class Switch:
    """The world that a run's stand-ins are in, changed by who runs judged programs.

    That is `judging/inside/steps.py`, beside the judged programs; a word of it carries
    a digest made with a key that is in a file of ours and in its memory only.
    """

    key_file: Path
    world: World = World.REAL
    _key: bytes = b""
    _count: int = 0

    def handler(self) -> Handler:
        """Takes one line `COUNT WORLD DIGEST` of each connection; answers `ok`."""

        async def take(caller: SocketStream) -> None:
            line = await caller.receive(_LONGEST)
            if self._turn(line.decode("latin-1").strip()):
                await caller.send(b"ok")

        return take

    def _turn(self, line: str) -> bool:
        said, _, digest = line.rpartition(" ")
        key = self.key_file.read_bytes() if self.key_file.exists() else b""
        right = hmac.new(key, f"world {said}".encode(), hashlib.sha256).hexdigest()
        count, _, world = said.partition(" ")
        if not key or not hmac.compare_digest(right, digest) or world not in set(World):
            return False
        if key != self._key:
            self._key, self._count = key, 0
        if not count.isdecimal() or int(count) < self._count:
            return False
        self._count = int(count) + 1
        self.world = World(world)
        return True
