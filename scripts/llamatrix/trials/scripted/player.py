"""Stands where llama-server is: plays a transcript, while the real one really works.

With an upstream every request is forwarded there, its text thrown away, and its
counts and timings passed on: they are real, the words are authored.
"""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx
import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from llamatrix.proxy.request import ChatRequest, Kind, kind_of, read_request
from llamatrix.trials.scripted.transcript import Fault, Step, Transcript

_TITLE = Step(text="A scripted session")
_SUMMARY = Step(text="The work so far is in the files.")
_STALL_S = 3600.0
_FAULT_STATUS = {Fault.HTTP_500: 500, Fault.HTTP_400: 400}


class _Counts(msgspec.Struct, frozen=True):
    """What the real server says of the call it did."""

    usage: msgspec.Raw = msgspec.Raw()
    timings: msgspec.Raw = msgspec.Raw()


@dataclass(kw_only=True, slots=True)
class Player:
    transcript: Transcript
    upstream: str | None = None
    """A real llama-server's address; None plays without one, and without timings."""
    transport: httpx.AsyncBaseTransport | None = None
    refusals: list[str] = field(default_factory=list)
    """What the real server answered instead of a completion: with random weights
    its parser refuses some texts. The work was done, the counts are lost."""
    _attempts: "Counter[int]" = field(default_factory=Counter)

    def app(self) -> Starlette:
        client = httpx.AsyncClient(
            base_url=self.upstream or "http://none.invalid",
            transport=self.transport,
            trust_env=False,
            timeout=None,  # noqa: S113  a slow prefill takes what it takes
        )

        @asynccontextmanager
        async def lifespan(_app: Starlette) -> AsyncIterator[None]:
            async with client:
                yield

        async def answer(request: Request) -> Response:
            return await self._answer(client, request)

        route = Route("/v1/chat/completions", answer, methods=["POST"])
        return Starlette(routes=[route], lifespan=lifespan)

    async def _answer(self, client: httpx.AsyncClient, request: Request) -> Response:
        body = await request.body()
        read = read_request(body)
        if read is None:
            return _error(400, "not a chat completion request")
        kind = kind_of(request.url.path, dict(request.headers), read)
        step = self._step(kind, read)
        if step is None:
            return _error(400, f"the transcript has no step {read.answers_given + 1}")
        fault = self._fault(step, read) if kind is Kind.MAIN else None
        if fault in _FAULT_STATUS:
            return _error(_FAULT_STATUS[fault], f"scripted {fault}")
        counts = await self._work(client, body, step)
        parts = _stream(step, read, counts, fault)
        return StreamingResponse(parts, media_type="text/event-stream")

    def _step(self, kind: Kind, read: ChatRequest) -> Step | None:
        if kind is Kind.TITLE:
            return _TITLE
        if kind is Kind.COMPACTION:
            return _SUMMARY
        steps = self.transcript.steps
        return steps[read.answers_given] if read.answers_given < len(steps) else None

    def _fault(self, step: Step, read: ChatRequest) -> Fault | None:
        attempt = self._attempts[read.answers_given]
        self._attempts[read.answers_given] += 1
        if attempt < len(step.faults):
            return step.faults[attempt]
        return step.always

    async def _work(
        self, client: httpx.AsyncClient, body: bytes, step: Step
    ) -> _Counts:
        """Have the real server do the call: all of the prompt, as many tokens out."""
        if self.upstream is None:
            return _Counts()
        asked = json.loads(body)
        asked |= {"stream": False, "max_tokens": step.length_tokens}
        asked.pop("stream_options", None)
        try:
            got = await client.post("/v1/chat/completions", json=asked)
        except httpx.HTTPError as error:
            self.refusals.append(f"{type(error).__name__}: {error}")
            return _Counts()
        if got.status_code != httpx.codes.OK:
            self.refusals.append(f"HTTP {got.status_code}: {got.text[:300]}")
            return _Counts()
        return msgspec.json.decode(got.content, type=_Counts)


def _error(status: int, message: str) -> Response:
    body = {"error": {"message": message, "type": "scripted", "code": status}}
    return JSONResponse(body, status_code=status)


async def _stream(
    step: Step, read: ChatRequest, counts: _Counts, fault: Fault | None
) -> AsyncIterator[bytes]:
    """The step as server-sent events, broken off or held up where a fault says so."""
    for number, event in enumerate(_events(step, read, counts)):
        yield event
        if fault and number == 1:
            if fault is Fault.STALL:
                await asyncio.sleep(_STALL_S)
            raise ConnectionAbortedError


def _events(step: Step, read: ChatRequest, counts: _Counts) -> Iterator[bytes]:
    yield _chunk(read, {"role": "assistant", "content": None})
    if step.reasoning:
        yield _chunk(read, {"reasoning_content": step.reasoning})
    if step.text:
        yield _chunk(read, {"content": step.text})
    for index, call in enumerate(step.tool_calls):
        called = {
            "index": index,
            "id": f"call_{read.answers_given}_{index}",
            "type": "function",
            "function": {"name": call.tool, "arguments": call.text},
        }
        yield _chunk(read, {"tool_calls": [called]})
    yield _chunk(read, {}, "tool_calls" if step.tool_calls else "stop")
    last: dict[str, object] = {"choices": [], "model": read.model}
    for name in ("usage", "timings"):
        if raw := bytes(getattr(counts, name)):
            last[name] = json.loads(raw)
    last.setdefault("usage", _estimate(step, read))
    yield _event(last)
    yield b"data: [DONE]\n\n"


def _chunk(
    read: ChatRequest, delta: dict[str, object], finish: str | None = None
) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return _event(
        {"object": "chat.completion.chunk", "model": read.model, "choices": [choice]}
    )


def _event(content: dict[str, object]) -> bytes:
    return b"data: " + json.dumps(content).encode() + b"\n\n"


def _estimate(step: Step, read: ChatRequest) -> dict[str, int]:
    """Four characters to a token: OpenCode wants numbers, nobody else reads them."""
    prompt_tokens = sum(len(message.text) for message in read.messages) // 4
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": step.length_tokens,
        "total_tokens": prompt_tokens + step.length_tokens,
    }
