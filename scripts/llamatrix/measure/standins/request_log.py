"""What a stand-in was asked, one JSON line for each request; the checks count them."""

import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
from msgspec import Struct
from starlette.types import ASGIApp, Message, Receive, Scope, Send


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


class Watched:
    """An app, each of whose requests is written down when it is answered."""

    def __init__(self, app: ASGIApp, log: RequestLog) -> None:
        self._app = app
        self._log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}

        async def watched(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._log.add(
                    Request(
                        host=headers.get(b"host", "").partition(":")[0],
                        method=scope["method"],
                        path=scope["path"],
                        status=message["status"],
                        user_agent=headers.get(b"user-agent", ""),
                    )
                )
            await send(message)

        await self._app(scope, receive, watched)


def read_requests(path: Path) -> tuple[Request, ...]:
    """All requests so far, in the order they were answered."""
    return tuple(_lines(path))


def _lines(path: Path) -> Iterator[Request]:
    for line in path.read_bytes().splitlines():
        yield msgspec.json.decode(line, type=Request)
