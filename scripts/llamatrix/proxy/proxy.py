"""The recording reverse proxy: bytes pass unchanged, and are read in passing."""

import asyncio
import re
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import msgspec
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from llamatrix.proxy.answer import Answer
from llamatrix.proxy.call import Call, Trouble
from llamatrix.proxy.caller import AgentProcess
from llamatrix.proxy.passing import Decoder, Passing
from llamatrix.proxy.request import ChatRequest, Kind, kind_of, read_request
from llamatrix.redaction import Redaction

_CONNECT_TIMEOUT_S = 10.0
_MODEL_API = {("POST", "/v1/chat/completions"), ("GET", "/v1/models")}
"""All that an agent needs: other paths of llama-server erase caches, swap adapters…"""
_SITE = re.compile("^https?://[^/]*")
"""How a target begins that names the whole address, as for a proxy."""
_HOP = {
    *(b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization"),
    *(b"te", b"trailers", b"transfer-encoding", b"upgrade", b"host", b"expect"),
    b"content-length",
    b"accept-encoding",  # a compressed answer could be passed on, but not read
}
_OWN = _HOP - {b"content-length"}
_MOST_BODY_BYTES = 64 << 20
_MOST_BLOCKED = 200
"""Blocked calls that are recorded one by one; those after them are answered alike."""
_BAD_REQUEST = 400
_SPELLED = b"[redacted: this answer spelled a key out, piece by piece]\n"


class _BlockedError(Exception):
    """A call that is not let through, and the status it is answered with."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


@dataclass(kw_only=True, slots=True)
class Tap:
    """Records every call between a client and `upstream`.

    Only calls of the model API by the agent itself are let through; others are answered
    with an error of ours, and recorded as blocked.
    """

    upstream: str
    """The server's address without a path."""
    folder: Path
    """Gets `calls.jsonl`, and each request and answer as a file."""
    redaction: Redaction = field(default_factory=Redaction)
    agent: AgentProcess | None = None
    """Whose calls are let through; None lets every client's."""
    transport: httpx.AsyncBaseTransport | None = None
    calls: list[Call] = field(default_factory=list)
    """What has ended so far, in order of ending."""
    heard: float = field(default_factory=time.monotonic)
    """When the last byte of a call let through passed, in either direction."""
    _open: int = 0
    _count: int = 0
    _blocked: int = 0
    _began: float = field(default_factory=time.monotonic)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def calls_open(self) -> int:
        """Calls under way now."""
        return self._open

    def failures_in_a_row(self) -> int:
        """How many of OpenCode's last calls failed for the server's sake."""
        count = 0
        for call in reversed(self.calls):
            if call.kind is Kind.OTHER:
                continue
            if call.trouble in {None, Trouble.LEFT, Trouble.REFUSED}:
                break
            count += 1
        return count

    def app(self) -> Starlette:
        """The proxy itself; one client of httpx lives as long as it runs."""
        client = httpx.AsyncClient(transport=self.transport, trust_env=False)

        @asynccontextmanager
        async def lifespan(_app: Starlette) -> AsyncIterator[None]:
            self.folder.mkdir(parents=True, exist_ok=True)
            async with client:
                yield

        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            response = await self._respond(client, Request(scope, receive))
            await response(scope, receive, send)

        app = Starlette(lifespan=lifespan)
        app.router.default = answer  # no routes: whatever a target looks like
        return app

    async def _respond(self, client: httpx.AsyncClient, request: Request) -> Response:
        passing = self._begin(request)
        try:
            await self._admit(request, passing)
            onward = self._onward(request, passing)
            answer = await client.send(onward, stream=True)
        except _BlockedError as error:
            return self._block(request, passing, error)
        except ClientDisconnect:
            passing.trouble = Trouble.LEFT
            self._end(passing)
            return Response(status_code=_BAD_REQUEST)  # to nobody
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            kinds = (httpx.ConnectError, httpx.ConnectTimeout)
            unreachable = isinstance(error, kinds)
            passing.trouble = Trouble.UNREACHABLE if unreachable else Trouble.CUT
            passing.error = f"{type(error).__name__}: {error}"
            self._end(passing)
            return _refusal(502, f"no model server: {error}")
        except BaseException:  # cancelled: the turn is over before the server answered
            passing.trouble = Trouble.LEFT
            self._end(passing)
            raise
        passing.status = answer.status_code
        passing.trouble = Trouble.LEFT  # unless it is passed to the end
        passing.decoder = Decoder(answer.headers.get("content-encoding", ""))
        return _Recorded(
            self._pass_through(answer, passing),
            status=answer.status_code,
            headers=[
                (k.lower(), v) for k, v in answer.headers.raw if k.lower() not in _OWN
            ],
            over=lambda: self._end(passing),
        )

    async def _admit(self, request: Request, passing: Passing) -> None:
        """Read the request; _BlockedError where it is not to be passed on."""
        path = passing.path
        if (request.method, path) not in _MODEL_API:
            raise _BlockedError(404, f"{request.method} is not part of the model API")
        if self.agent and not await asyncio.to_thread(
            self.agent.calls_from, request.scope["client"], request.scope["server"]
        ):
            raise _BlockedError(403, "not a call of the agent program itself")
        parts: list[bytes] = []
        size_bytes = 0
        async for part in request.stream():
            parts.append(part)
            size_bytes += len(part)
            if size_bytes > _MOST_BODY_BYTES:
                raise _BlockedError(413, f"more than {_MOST_BODY_BYTES} bytes")
        passing.request = b"".join(parts)
        decoder = Decoder(request.headers.get("content-encoding", ""))
        passing.readable_request = decoder.decode(passing.request)
        read = read_request(passing.readable_request)
        passing.kind = kind_of(path, dict(request.headers), read)
        passing.read = read or ChatRequest()
        self.heard = time.monotonic()

    def _onward(self, request: Request, passing: Passing) -> httpx.Request:
        """The same request to the real server: headers as bytes, whatever is in them."""
        named = b",".join(v for k, v in request.headers.raw if k == b"connection")
        hop = _HOP.union(word.strip().lower() for word in named.split(b","))
        headers = [(k, v) for k, v in request.headers.raw if k not in hop]
        query: bytes = request.scope["query_string"]
        target = passing.path.encode() + (b"?" + query if query else b"")
        return httpx.Request(
            request.method,
            httpx.URL(self.upstream).copy_with(raw_path=target),
            headers=[*headers, (b"accept-encoding", b"identity")],
            content=passing.request or None,
            extensions={"timeout": {"connect": _CONNECT_TIMEOUT_S}},
        )

    def _block(
        self, request: Request, passing: Passing, error: _BlockedError
    ) -> Response:
        """Answer an attempt, and record it with its whole target."""
        query = request.scope["query_string"].decode(errors="replace")
        passing.path += f"?{query}" if query else ""
        passing.status, passing.trouble = error.status, Trouble.BLOCKED
        passing.error = str(error)
        self._blocked += 1
        if self._blocked <= _MOST_BLOCKED:
            self._end(passing)
        else:
            self._open -= 1
        return _refusal(error.status, str(error))

    async def _pass_through(
        self, answer: httpx.Response, passing: Passing
    ) -> AsyncIterator[bytes]:
        try:
            async for part in answer.aiter_raw():
                self._hear(passing, part)
                yield part
            passing.trouble = None
        except httpx.HTTPError as error:
            passing.trouble = Trouble.CUT
            passing.error = f"{type(error).__name__}: {error}"
            raise  # the client shall see it break off as well
        finally:
            await answer.aclose()

    def _begin(self, request: Request) -> Passing:
        with self._lock:
            self._count += 1
            self._open += 1
            index = self._count
        path = _SITE.sub("", request.scope["path"])
        return Passing(index=index, path=path, begun=time.monotonic())

    def _hear(self, passing: Passing, part: bytes) -> None:
        self.heard = time.monotonic()
        passing.first_byte = passing.first_byte or self.heard
        passing.parts.append(part)
        readable = passing.decoder.decode(part)
        passing.readable_parts.append(readable)
        passing.answer.feed(readable)
        if passing.answer.saw_token and not passing.first_token:
            passing.first_token = self.heard

    def _end(self, passing: Passing) -> None:
        readable = b"".join(passing.readable_parts)
        kept = _SPELLED if self._spells_a_key_out(readable) else readable
        if passing.trouble is not Trouble.BLOCKED:
            self._store(passing.index, "request", passing.readable_request)
            self._store(passing.index, "answer", kept)
        call = passing.call(since=self._began)
        line = self.redaction.clean(msgspec.json.encode(call))
        with self._lock, (self.folder / "calls.jsonl").open("ab") as sink:
            sink.write(line + b"\n")
            self.calls.append(msgspec.json.decode(line, type=Call))
            self._open -= 1

    def _spells_a_key_out(self, body: bytes) -> bool:
        """Whether pieces of a cleaned answer, as a model streams them, still make one."""
        left = Answer()
        left.feed(self.redaction.clean(body))
        whole = "\n".join(left.said).encode()
        return self.redaction.clean(whole) != whole

    def _store(self, index: int, what: str, body: bytes) -> None:
        suffix = "json" if what == "request" else "txt"
        path = self.folder / f"{index:04}.{what}.{suffix}"
        path.write_bytes(self.redaction.clean(body))


def _refusal(status: int, message: str) -> Response:
    text = {"error": {"message": message, "code": status}}
    return JSONResponse(text, status_code=status)


class _Recorded(StreamingResponse):
    """Is written down when the client has all of it or is gone: it waits for no disk."""

    def __init__(
        self,
        parts: AsyncIterator[bytes],
        *,
        status: int,
        headers: list[tuple[bytes, bytes]],
        over: Callable[[], None],
    ) -> None:
        super().__init__(parts, status_code=status)
        self.raw_headers = headers  # as they came: duplicates and odd bytes too
        self._over = over

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._over()
