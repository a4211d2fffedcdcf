"""The requests to a stub, one JSON line each; the checks count them."""

import time
from enum import StrEnum
from pathlib import Path

import msgspec
from msgspec import Struct
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_DESCRIBED = "llamatrix..served"
_OK = 200
_MAX_CHARACTERS = 2_000
"""Of each text: a request's line and headers may have 256 KiB."""
_MAX_LOG_BYTES = 16 << 20
"""Trials keep their log; one of them sends a few hundred requests."""


class GivenKey(StrEnum):
    """The kind of key in a request; the key itself is never recorded."""

    NONE = "none"
    RIGHT = "right"
    """The one of this run's environment."""
    FOREIGN = "foreign"
    """That of another run, such as the agent's own session."""
    BAD = "bad"
    """One that nobody takes for a key, such as `invalid-key` or `garbage`."""
    UNKNOWN = "unknown"
    """One that looks real."""


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


_LOG_IS_FULL = Request(
    host="", method="", path="(later requests are not logged)", status=0, user_agent=""
)


def describe(scope: Scope, served: Served) -> None:
    """Add to the record of a request that is being answered."""
    scope[_DESCRIBED] = served


class Watched:
    """An app whose requests are appended to a log when they are answered.

    Long texts are cut; where the log is full, its last line says so. `count` is the
    number of requests for the path `counted` that were answered with status 200.
    """

    def __init__(self, app: ASGIApp, log: Path, *, counted: str = "") -> None:
        self._app = app
        self._log = log
        self._counted = counted
        self.count = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        names = " ".join(name.decode("latin-1") for name, _ in scope["headers"])

        async def watched(message: Message) -> None:
            if message["type"] == "http.response.start":
                request = Request(
                    host=_cut(headers.get(b"host", "").partition(":")[0]),
                    method=_cut(scope["method"]),
                    path=_cut(scope["path"]),
                    status=message["status"],
                    user_agent=_cut(headers.get(b"user-agent", "")),
                    at_s=time.time(),
                    headers=_cut(names),
                    served=described.get(_DESCRIBED, Served()),
                )
                self.count += (request.path, request.status) == (self._counted, _OK)
                self._append(request)
            await send(message)

        described = dict(scope)
        await self._app(described, receive, watched)

    def _append(self, request: Request) -> None:
        with self._log.open("ab", buffering=0) as log:
            size_bytes = log.tell()
            if size_bytes >= _MAX_LOG_BYTES:
                return
            line = msgspec.json.encode(request) + b"\n"
            if size_bytes + len(line) >= _MAX_LOG_BYTES:
                line += msgspec.json.encode(_LOG_IS_FULL) + b"\n"
            log.write(line)  # one write: whole lines


def _cut(text: str) -> str:
    return text[:_MAX_CHARACTERS]


def read_requests(path: Path) -> tuple[Request, ...]:
    """Return all requests so far, in the order of their answers."""
    lines = path.read_bytes().splitlines()
    return tuple(msgspec.json.decode(line, type=Request) for line in lines)
