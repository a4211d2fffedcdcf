"""What a stand-in was asked, one JSON line for each request; the checks count them."""

import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
from msgspec import Struct


class Request(Struct, frozen=True, kw_only=True):
    """One answered request. Neither headers, query nor body: no key can get in."""

    host: str
    method: str
    path: str
    status: int
    user_agent: str


class RequestLog:
    """Appends to one file; whole lines only, from any thread."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()

    def add(self, request: Request) -> None:
        line = msgspec.json.encode(request) + b"\n"
        with self._lock, self.path.open("ab") as file:
            file.write(line)


def read_requests(path: Path) -> tuple[Request, ...]:
    """All requests so far, in the order they were answered."""
    return tuple(_lines(path))


def _lines(path: Path) -> Iterator[Request]:
    for line in path.read_bytes().splitlines():
        yield msgspec.json.decode(line, type=Request)
