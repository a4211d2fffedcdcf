"""The requests to a stub, one JSON line each; the checks count them."""

import time
from enum import StrEnum
from pathlib import Path

import msgspec
from msgspec import Struct
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_DESCRIBED = "llamatrix..served"


class GivenKey(StrEnum):
    """The kind of key in a request; the key itself is never recorded."""

    NONE = "none"
    RIGHT = "right"
    """The one of this run's environment."""
    FOREIGN = "foreign"
    """That of another run, such as the agent's own session."""
    BAD = "bad"
    """A placeholder, such as `invalid-key`."""
    UNKNOWN = "unknown"


class Served(Struct, frozen=True, kw_only=True):
    """What a stub adds to the line of a request."""

    key: GivenKey = GivenKey.NONE
    prompt: str = ""
    """The prompt for an image."""
    picture: str = ""
    """The fingerprint of the served image."""


class Request(Struct, frozen=True, kw_only=True):
    """One answered request: headers by name only, without the query."""

    host: str
    method: str
    path: str
    status: int
    user_agent: str
    at_s: float = 0.0
    """Time of the answer, in seconds since the epoch."""
    headers: str = ""
    """The names of its headers in their order, which differs between HTTP clients."""
    served: Served = Served()


def describe(scope: Scope, served: Served) -> None:
    """Add to the record of a request that is being answered."""
    scope[_DESCRIBED] = served


class Watched:
    """An app whose requests are appended to a log when they are answered."""

    def __init__(self, app: ASGIApp, log: Path) -> None:
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
                request = Request(
                    host=headers.get(b"host", "").partition(":")[0],
                    method=scope["method"],
                    path=scope["path"],
                    status=message["status"],
                    user_agent=headers.get(b"user-agent", ""),
                    at_s=time.time(),
                    headers=names,
                    served=described.get(_DESCRIBED, Served()),
                )
                with self._log.open("ab", buffering=0) as log:  # one write: one line
                    log.write(msgspec.json.encode(request) + b"\n")
            await send(message)

        described = dict(scope)
        await self._app(described, receive, watched)


def read_requests(path: Path) -> tuple[Request, ...]:
    """Return all requests so far, in the order of their answers."""
    lines = path.read_bytes().splitlines()
    return tuple(msgspec.json.decode(line, type=Request) for line in lines)
