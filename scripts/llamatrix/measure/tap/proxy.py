"""The recording reverse proxy: bytes pass unchanged, and are read in passing."""

import hashlib
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from llamatrix.measure.redaction import Redaction
from llamatrix.measure.tap.answer import Answer
from llamatrix.measure.tap.call import Call, Trouble
from llamatrix.measure.tap.request import ChatRequest, Kind, kind_of, read_request

_CONNECT_TIMEOUT_S = 10.0
_METHODS = ["GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD", "PATCH"]
_HOP = {
    *("connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te"),
    *("trailers", "transfer-encoding", "upgrade", "host", "content-length"),
    "accept-encoding",  # a compressed answer could be passed on, but not read
}
_OWN = _HOP - {"content-length"}
_FIRST_SERVER_ERROR = 500
_FIRST_ERROR = 400
_SPELLED = b"[redacted: this answer spelled a key out, piece by piece]\n"


@dataclass(kw_only=True, slots=True)
class Tap:
    """Records every call between a client and `upstream`."""

    upstream: str
    """The server's address without a path."""
    folder: Path
    """Gets `calls.jsonl`, and each request and answer as a file."""
    redaction: Redaction = field(default_factory=Redaction)
    transport: httpx.AsyncBaseTransport | None = None
    calls: list[Call] = field(default_factory=list)
    """What has ended so far, in order of ending."""
    heard: float = field(default_factory=time.monotonic)
    """When the last byte passed, in either direction."""
    _open: int = 0
    _count: int = 0
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
        client = httpx.AsyncClient(
            base_url=self.upstream,
            transport=self.transport,
            trust_env=False,
            timeout=httpx.Timeout(None, connect=_CONNECT_TIMEOUT_S),
        )

        @asynccontextmanager
        async def lifespan(_app: Starlette) -> AsyncIterator[None]:
            self.folder.mkdir(parents=True, exist_ok=True)
            async with client:
                yield

        async def forward(request: Request) -> Response:
            return await self._forward(client, request)

        routes = [Route("/{path:path}", forward, methods=_METHODS)]
        return Starlette(routes=routes, lifespan=lifespan)

    async def _forward(self, client: httpx.AsyncClient, request: Request) -> Response:
        body = await request.body()
        passing = self._begin(request, body)
        path = request.url.path
        target = f"{path}?{request.url.query}" if request.url.query else path
        onward = client.build_request(
            request.method,
            target,
            content=body,
            headers=[(k, v) for k, v in request.headers.items() if k not in _HOP],
        )
        onward.headers["accept-encoding"] = "identity"
        try:
            answer = await client.send(onward, stream=True)
        except httpx.HTTPError as error:
            kinds = (httpx.ConnectError, httpx.ConnectTimeout)
            unreachable = isinstance(error, kinds)
            passing.trouble = Trouble.UNREACHABLE if unreachable else Trouble.CUT
            passing.error = f"{type(error).__name__}: {error}"
            self._end(passing)
            text = {"error": {"message": f"no model server: {error}", "code": 502}}
            return JSONResponse(text, status_code=502)
        except BaseException:  # cancelled: the turn is over before the server answered
            passing.trouble = Trouble.LEFT
            self._end(passing)
            raise
        passing.status = answer.status_code
        passing.trouble = Trouble.LEFT  # unless it is passed to the end
        return _Recorded(
            self._pass_through(answer, passing),
            status=answer.status_code,
            headers={k: v for k, v in answer.headers.items() if k not in _OWN},
            over=lambda: self._end(passing),
        )

    async def _pass_through(
        self, answer: httpx.Response, passing: "_Passing"
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

    def _begin(self, request: Request, body: bytes) -> "_Passing":
        read = read_request(body)
        kind = kind_of(request.url.path, dict(request.headers), read)
        with self._lock:
            self._count += 1
            self._open += 1
            index = self._count
        self.heard = time.monotonic()
        return _Passing(
            index=index,
            kind=kind,
            path=request.url.path,
            begun=time.monotonic(),
            request=body,
            read=read or ChatRequest(),
        )

    def _hear(self, passing: "_Passing", part: bytes) -> None:
        self.heard = time.monotonic()
        passing.first_byte = passing.first_byte or self.heard
        passing.parts.append(part)
        passing.answer.feed(part)
        if passing.answer.saw_token and not passing.first_token:
            passing.first_token = self.heard

    def _end(self, passing: "_Passing") -> None:
        body = b"".join(passing.parts)
        kept = _SPELLED if self._spells_a_key_out(body) else body
        self._store(passing.index, "request", passing.request)
        self._store(passing.index, "answer", kept)
        call = passing.call(body, since=self._began)
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


class _Recorded(StreamingResponse):
    """Is written down when the client has all of it or is gone: it waits for no disk."""

    def __init__(
        self,
        parts: AsyncIterator[bytes],
        *,
        status: int,
        headers: Mapping[str, str],
        over: Callable[[], None],
    ) -> None:
        super().__init__(parts, status_code=status, headers=headers)
        self._over = over

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._over()


@dataclass(kw_only=True, slots=True)
class _Passing:
    """A call under way; times are the monotonic clock's."""

    index: int
    kind: Kind
    path: str
    begun: float
    request: bytes
    read: ChatRequest
    parts: list[bytes] = field(default_factory=list)
    answer: Answer = field(default_factory=Answer)
    first_byte: float | None = None
    first_token: float | None = None
    status: int | None = None
    trouble: Trouble | None = None
    error: str = ""

    def call(self, body: bytes, *, since: float) -> Call:
        seen = self.answer
        if not self.read.stream:
            seen.read(body)
        self._judge(body)
        usage = seen.usage
        cached = usage.prompt_tokens_details
        reasoning = usage.completion_tokens_details

        def clock(at: float | None) -> float | None:
            return None if at is None else at - since

        return Call(
            index=self.index,
            kind=self.kind,
            path=self.path,
            begun_s=self.begun - since,
            first_byte_s=clock(self.first_byte),
            first_token_s=clock(self.first_token),
            ended_s=time.monotonic() - since,
            status=self.status,
            request_bytes=len(self.request),
            request_sha256=hashlib.sha256(self.request).hexdigest(),
            answer_bytes=len(body),
            answer_sha256=hashlib.sha256(body).hexdigest(),
            tools_offered=self.read.tool_names,
            prompt_tokens=usage.prompt_tokens,
            cached_tokens=cached.cached_tokens if cached else None,
            generated_tokens=usage.completion_tokens,
            reasoning_tokens=reasoning.reasoning_tokens if reasoning else None,
            timings=seen.timings,
            tool_calls=tuple(seen.tool_calls),
            finish_reason=seen.finish_reason,
            trouble=self.trouble,
            error=self.error,
        )

    def _judge(self, body: bytes) -> None:
        """Name what went wrong, where the passing itself did not."""
        if self.trouble or self.status is None:
            return
        if self.status >= _FIRST_ERROR:
            failed = self.status >= _FIRST_SERVER_ERROR
            self.trouble = Trouble.FAILED if failed else Trouble.REFUSED
            self.error = body[:2000].decode(errors="replace")
        elif self.answer.error:
            self.trouble, self.error = Trouble.ERROR, self.answer.error
        elif self.read.stream and not self.answer.complete:
            self.trouble, self.error = Trouble.CUT, "the stream has no end"
