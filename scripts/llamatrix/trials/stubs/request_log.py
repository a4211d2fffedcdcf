"""What a stand-in was asked, one JSON line for each request; the checks count them."""

import threading
import time
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path

import msgspec
from msgspec import Struct
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_DESCRIBED = "llamatrix..served"


class GivenKey(StrEnum):
    """Which key a request came with; the key itself is never written down."""

    NONE = "none"
    RIGHT = "right"
    """The one of this run's environment."""
    FOREIGN = "foreign"
    """That of another run, the agent's own session among them."""
    BAD = "bad"
    """One that says of itself that it is none, such as `invalid-key`."""
    UNKNOWN = "unknown"


class Served(Struct, frozen=True, kw_only=True):
    """What a stand-in adds to the line of a request."""

    key: GivenKey = GivenKey.NONE
    prompt: str = ""
    """The text an image was asked for with."""
    picture: str = ""
    """Fingerprint of the image that was served; see `picture`."""


class Request(Struct, frozen=True, kw_only=True):
    """One answered request. Of headers only their names, of the query nothing."""

    host: str
    method: str
    path: str
    status: int
    user_agent: str
    at_s: float = 0.0
    """When it was answered, in seconds since the epoch."""
    headers: str = ""
    """Names of its headers in the order they came in: every HTTP client has its own."""
    served: Served = Served()


class RequestLog:
    """Appends to one file; whole lines only, from any thread."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()

    def add(self, request: Request) -> None:
        line = msgspec.json.encode(request) + b"\n"
        with self._lock, self.path.open("ab") as file:
            file.write(line)


def describe(scope: Scope, served: Served) -> None:
    """Say more about a request that is being answered."""
    scope[_DESCRIBED] = served


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
        names = " ".join(name.decode("latin-1") for name, _ in scope["headers"])

        async def watched(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._log.add(
                    Request(
                        host=headers.get(b"host", "").partition(":")[0],
                        method=scope["method"],
                        path=scope["path"],
                        status=message["status"],
                        user_agent=headers.get(b"user-agent", ""),
                        at_s=time.time(),
                        headers=names,
                        served=described.get(_DESCRIBED, Served()),
                    )
                )
            await send(message)

        described = dict(scope)
        await self._app(described, receive, watched)


def read_requests(path: Path) -> tuple[Request, ...]:
    """All requests so far, in the order they were answered."""
    return tuple(_lines(path))


def _lines(path: Path) -> Iterator[Request]:
    for line in path.read_bytes().splitlines():
        yield msgspec.json.decode(line, type=Request)
