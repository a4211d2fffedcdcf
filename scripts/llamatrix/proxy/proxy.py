"""The recording reverse proxy: bytes pass unchanged, and are read on the way."""

import asyncio
import hashlib
import re
import threading
import time
import zlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import msgspec
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from llamatrix.proxy import chat_completions
from llamatrix.proxy.agent_process import AgentProcess
from llamatrix.proxy.call import Call, CallKind, Trouble
from llamatrix.proxy.wire_api import ModelAnswer, ModelRequest, WireApi
from llamatrix.redaction import Redaction

_CONNECT_TIMEOUT_S = 10.0
_OUR_BASE = "/v1"
"""Where clients find the API here."""
_SITE = re.compile("^https?://[^/]*")
"""The start of a request target in absolute form, as sent to a proxy."""
_NOT_FORWARDED = {
    *(b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization"),
    *(b"te", b"trailers", b"transfer-encoding", b"upgrade", b"host", b"expect"),
    b"content-length",
    b"accept-encoding",  # a compressed answer could be passed on, but not read
}
_NOT_RETURNED = _NOT_FORWARDED - {b"content-length"}
_MAX_BODY_BYTES = 64 << 20
_MAX_INFLATED_BYTES = 256 << 20
"""Of a compressed body; the rest is passed on, but not read."""
_MAX_BLOCKED_RECORDED = 200
"""Further blocked calls are answered alike and not recorded."""
_SPELLED = b"[redacted: this answer spelled a key out, piece by piece]\n"

Classify = Callable[[Mapping[str, str], ModelRequest], CallKind]
"""Returns what a call is made for, by its lower-case headers and its request."""


class _BlockedError(Exception):
    """A call that is not passed on, and the status it is answered with."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class _Decoder:
    """Decompresses a body; what it cannot decode is empty."""

    def __init__(self, encoding: str) -> None:
        self._compressed = encoding.strip().lower() in {"gzip", "x-gzip", "deflate"}
        self._inflate = zlib.decompressobj(zlib.MAX_WBITS | 32)
        self._rest_bytes = _MAX_INFLATED_BYTES

    def decode(self, part: bytes) -> bytes:
        if not self._compressed:
            return part
        try:
            plain = self._inflate.decompress(part, max(1, self._rest_bytes))
        except zlib.error:
            return b""
        self._rest_bytes -= len(plain)
        return plain


@dataclass(kw_only=True, slots=True)
class _OpenCall:
    """A call under way; times are the monotonic clock's."""

    index: int
    path: str
    answer: ModelAnswer
    begun: float = field(default_factory=time.monotonic)
    kind: CallKind = CallKind.OTHER
    request: bytes = b""
    readable_request: bytes = b""
    """Decompressed, as it is recorded: no key can be found in compressed text."""
    read: ModelRequest | None = None
    parts: list[bytes] = field(default_factory=list)
    readable_parts: list[bytes] = field(default_factory=list)
    decoder: _Decoder = field(default_factory=lambda: _Decoder(""))
    first_byte: float | None = None
    first_token: float | None = None
    status: int | None = None
    trouble: Trouble | None = Trouble.LEFT
    """Unless the answer is passed on to its end."""
    error: str = ""

    def call(self, *, since: float) -> Call:
        """Return what is recorded of the call, which has ended."""
        answer = self.answer
        body, readable = b"".join(self.parts), b"".join(self.readable_parts)
        streamed = self.read is not None and self.read.stream
        if not streamed:
            answer.read(readable)
        if self.trouble is None and self.status is not None:
            if self.status >= httpx.codes.BAD_REQUEST:
                failed = self.status >= httpx.codes.INTERNAL_SERVER_ERROR
                self.trouble = Trouble.FAILED if failed else Trouble.REFUSED
                self.error = readable[:2000].decode(errors="replace")
            elif answer.error:
                self.trouble, self.error = Trouble.ERROR, answer.error
            elif streamed and not answer.complete:
                self.trouble, self.error = Trouble.CUT, "the stream has no end"

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
            tools_offered=self.read.tool_names if self.read else (),
            prompt_tokens=answer.prompt_tokens,
            cached_tokens=answer.cached_tokens,
            generated_tokens=answer.generated_tokens,
            reasoning_tokens=answer.reasoning_tokens,
            timings=answer.timings,
            tool_calls=tuple(tool.name for tool in answer.called if tool.name),
            finish_reason=answer.finish_reason,
            trouble=self.trouble,
            error=self.error,
        )


@dataclass(kw_only=True, slots=True)
class Tap:
    """Records every call between a client and `upstream`.

    Only calls of the model API by the agent itself are passed on; others are answered
    with an error and recorded as blocked.
    """

    upstream: str
    """The server's address: with the path of its API where that is not `/v1`."""
    bearer: str = field(default="", repr=False)
    """A key that the server wants in place of the client's."""
    folder: Path
    """Gets `calls.jsonl`, and each request and answer as a file."""
    wire_api: WireApi = chat_completions
    classify: Classify = lambda _headers, _request: CallKind.MAIN
    redaction: Redaction = field(default_factory=Redaction)
    agent: AgentProcess | None = None
    """The process whose calls are passed on; None passes on every client's."""
    transport: httpx.AsyncBaseTransport | None = None
    calls: list[Call] = field(default_factory=list)
    """The calls that have ended, in order of ending."""
    heard: float = field(default_factory=time.monotonic)
    """When the last byte of a call passed, in either direction."""
    calls_open: int = 0
    """Calls under way."""
    _count: int = 0
    _blocked: int = 0
    _began: float = field(default_factory=time.monotonic)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def failures_in_a_row(self) -> int:
        """Return how many of the agent's last calls failed because of the server."""
        count = 0
        for call in reversed(self.calls):
            if call.kind is CallKind.OTHER:
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
            request = Request(scope, receive)
            open_call = self._begin(request)
            try:  # recorded once the client has all of it: it waits for no disk
                response = await self._respond(client, request, open_call)
                await response(scope, receive, send)
            finally:
                self._end(open_call)

        app = Starlette(lifespan=lifespan)
        app.router.default = answer  # no routes: whatever a target looks like
        return app

    async def _respond(
        self, client: httpx.AsyncClient, request: Request, open_call: _OpenCall
    ) -> Response:
        try:
            await self._admit(request, open_call)
            onward = self._onward(request, open_call)
            answer = await client.send(onward, stream=True)
        except _BlockedError as error:
            query = request.scope["query_string"].decode(errors="replace")
            open_call.path += f"?{query}" if query else ""
            open_call.status, open_call.trouble = error.status, Trouble.BLOCKED
            open_call.error = str(error)
            return _refusal(error.status, str(error))
        except ClientDisconnect:
            return Response(status_code=httpx.codes.BAD_REQUEST)  # to nobody
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            kinds = (httpx.ConnectError, httpx.ConnectTimeout)
            unreachable = isinstance(error, kinds)
            open_call.trouble = Trouble.UNREACHABLE if unreachable else Trouble.CUT
            open_call.error = f"{type(error).__name__}: {error}"
            return _refusal(502, f"no model server: {error}")
        open_call.status = answer.status_code
        open_call.decoder = _Decoder(answer.headers.get("content-encoding", ""))
        parts = self._pass_through(answer, open_call)
        response = StreamingResponse(parts, status_code=answer.status_code)
        response.raw_headers = [  # as they came: duplicates and odd bytes too
            (k.lower(), v)
            for k, v in answer.headers.raw
            if k.lower() not in _NOT_RETURNED
        ]
        return response

    async def _admit(self, request: Request, open_call: _OpenCall) -> None:
        """Read the request; raise _BlockedError where it is not to be passed on."""
        path = open_call.path
        # other paths of llama-server erase caches, swap adapters …
        model_api = {("POST", self.wire_api.PATH), ("GET", "/v1/models")}
        if (request.method, path) not in model_api:
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
            if size_bytes > _MAX_BODY_BYTES:
                raise _BlockedError(413, f"more than {_MAX_BODY_BYTES} bytes")
        open_call.request = b"".join(parts)
        decoder = _Decoder(request.headers.get("content-encoding", ""))
        open_call.readable_request = decoder.decode(open_call.request)
        if path == self.wire_api.PATH:
            open_call.read = self.wire_api.read_request(open_call.readable_request)
        if open_call.read is not None:
            open_call.kind = self.classify(dict(request.headers), open_call.read)
        self.heard = time.monotonic()

    def _onward(self, request: Request, open_call: _OpenCall) -> httpx.Request:
        """Return the request to the server: headers as bytes, whatever is in them."""
        named = b",".join(v for k, v in request.headers.raw if k == b"connection")
        dropped = _NOT_FORWARDED.union(
            word.strip().lower() for word in named.split(b",")
        )
        own = []
        if self.bearer:
            dropped |= {b"authorization"}
            own = [(b"authorization", f"Bearer {self.bearer}".encode())]
        headers = [(k, v) for k, v in request.headers.raw if k not in dropped]
        query: bytes = request.scope["query_string"]
        path = open_call.path
        if base := httpx.URL(self.upstream).path.rstrip("/"):
            path = base + path.removeprefix(_OUR_BASE)
        target = path.encode() + (b"?" + query if query else b"")
        return httpx.Request(
            request.method,
            httpx.URL(self.upstream).copy_with(raw_path=target),
            headers=[*headers, *own, (b"accept-encoding", b"identity")],
            content=open_call.request or None,
            extensions={"timeout": {"connect": _CONNECT_TIMEOUT_S}},
        )

    async def _pass_through(
        self, answer: httpx.Response, open_call: _OpenCall
    ) -> AsyncIterator[bytes]:
        try:
            async for part in answer.aiter_raw():
                self._hear(open_call, part)
                yield part
            open_call.trouble = None
        except httpx.HTTPError as error:
            open_call.trouble = Trouble.CUT
            open_call.error = f"{type(error).__name__}: {error}"
            raise  # so that it breaks off for the client as well
        finally:
            await answer.aclose()

    def _begin(self, request: Request) -> _OpenCall:
        with self._lock:
            self._count += 1
            self.calls_open += 1
            index = self._count
        path = _SITE.sub("", request.scope["path"])
        return _OpenCall(index=index, path=path, answer=self.wire_api.new_answer())

    def _hear(self, open_call: _OpenCall, part: bytes) -> None:
        self.heard = time.monotonic()
        open_call.first_byte = open_call.first_byte or self.heard
        open_call.parts.append(part)
        readable = open_call.decoder.decode(part)
        open_call.readable_parts.append(readable)
        open_call.answer.feed(readable)
        if open_call.answer.saw_token and not open_call.first_token:
            open_call.first_token = self.heard

    def _end(self, open_call: _OpenCall) -> None:
        if open_call.trouble is Trouble.BLOCKED:
            self._blocked += 1
            if self._blocked > _MAX_BLOCKED_RECORDED:
                self.calls_open -= 1
                return
        readable = b"".join(open_call.readable_parts)
        kept = _SPELLED if self._spells_a_key_out(readable) else readable
        if open_call.trouble is not Trouble.BLOCKED:
            self._store(open_call.index, "request", open_call.readable_request)
            self._store(open_call.index, "answer", kept)
        call = open_call.call(since=self._began)
        line = self.redaction.clean(msgspec.json.encode(call))
        with self._lock, (self.folder / "calls.jsonl").open("ab") as sink:
            sink.write(line + b"\n")
            self.calls.append(msgspec.json.decode(line, type=Call))
            self.calls_open -= 1

    def _spells_a_key_out(self, body: bytes) -> bool:
        """Return whether the pieces of a cleaned answer, joined, still contain a key."""
        cleaned = self.wire_api.new_answer()
        cleaned.feed(self.redaction.clean(body))
        whole = "\n".join(cleaned.texts).encode()
        return self.redaction.clean(whole) != whole

    def _store(self, index: int, what: str, body: bytes) -> None:
        suffix = "json" if what == "request" else "txt"
        path = self.folder / f"{index:04}.{what}.{suffix}"
        path.write_bytes(self.redaction.clean(body))


def _refusal(status: int, message: str) -> Response:
    text = {"error": {"message": message, "code": status}}
    return JSONResponse(text, status_code=status)
