"""What a stub answers: the same as the real service, or something else on purpose.

A judged program can tell these worlds apart only by calling the service. If it behaves
differently in one of them, its behaviour depends on the answers.
"""

import hashlib
import hmac
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from anyio.abc import SocketStream

from llamatrix.sandbox.forwarding import Handler

_MAX_LINE_BYTES = 256


class World(StrEnum):
    REAL = "real"
    """The answers of the public service."""
    OTHER = "other"
    """Well-formed answers with other content, different for every request."""
    FAILING = "failing"
    """Status 500 for every call that the task is about."""
    EMPTY = "empty"
    """Empty texts, and 0 for numbers."""
    NULL = "null"
    """Every value is null."""


@dataclass(kw_only=True, slots=True)
class Switch:
    """The world that a run's stubs are in; the runner of judged programs changes it.

    The runner is `checks/inside/steps.py`, in the sandbox of the judged programs. Each of
    its commands carries a digest made with a key, which is only in a file of the harness
    and in the runner's memory.
    """

    key_file: Path
    world: World = World.REAL
    _key: bytes = b""
    _count: int = 0

    def handler(self) -> Handler:
        """Return a handler of one line `COUNT WORLD DIGEST`; it answers `ok`."""

        async def take(caller: SocketStream) -> None:
            line = await caller.receive(_MAX_LINE_BYTES)
            if self._turn(line.decode("latin-1").strip()):
                await caller.send(b"ok")

        return take

    def _turn(self, line: str) -> bool:
        command, _, digest = line.rpartition(" ")
        key = self.key_file.read_bytes() if self.key_file.exists() else b""
        right = hmac.new(key, f"world {command}".encode(), hashlib.sha256).hexdigest()
        count, _, world = command.partition(" ")
        genuine = hmac.compare_digest(right.encode(), digest.encode())
        if not key or not genuine or world not in set(World):
            return False
        if key != self._key:
            self._key, self._count = key, 0
        if not count.isdecimal() or int(count) < self._count:
            return False
        self._count = int(count) + 1
        self.world = World(world)
        return True
