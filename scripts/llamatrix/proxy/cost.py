"""Measures the tap's own cost: the same calls with and without it."""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from llamatrix.proxy.call import read_calls
from llamatrix.proxy.proxy import Tap
from llamatrix.proxy.serving import address, loopback_listener, serving

_PATH = "/v1/chat/completions"
_CHUNK = b'data: {"choices":[{"index":0,"delta":{"content":"word "}}]}\n\n'
_CHUNKS = 64
_CHUNK_EVERY_S = 0.002
"""500 tokens a second, faster than a server of one agent."""
_PROMPT_CHARACTERS = 40_000
_TIMEOUT_S = 30.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """Seconds for one whole call, in pairs measured one after the other."""

    direct_s: tuple[float, ...]
    tapped_s: tuple[float, ...]
    identical: bool
    """Whether every request and every answer arrived byte for byte."""


def measure_cost(folder: Path, *, pairs: int) -> Cost:
    """Make `pairs` calls of an agent's usual size each way, recorded in `folder`.

    Answers are streamed token by token at a fast server's speed. Every other pair
    begins with the tap; a first call each way opens the connections and is not timed.
    """
    arrived: list[str] = []
    words = [{"role": "user", "content": "word " * (_PROMPT_CHARACTERS // 5)}]
    body = msgspec.json.encode({"model": "m", "stream": True, "messages": words})
    with (
        loopback_listener() as there,
        loopback_listener() as between,
        serving(_server(arrived), [there]),
        serving(Tap(upstream=address(there), folder=folder).app(), [between]),
        httpx.Client(trust_env=False, timeout=_TIMEOUT_S) as client,
    ):
        times: tuple[list[float], list[float]] = ([], [])
        ways = list(zip((address(there), address(between)), times, strict=True))
        answers = {client.post(url + _PATH, content=body).content for url, _ in ways}
        for number in range(pairs):
            for url, taken_s in ways[:: -1 if number % 2 else 1]:
                begun = time.perf_counter()
                answers.add(client.post(url + _PATH, content=body).content)
                taken_s.append(time.perf_counter() - begun)
    recorded = {call.answer_sha256 for call in read_calls(folder)}
    whole = {hashlib.sha256(answer).hexdigest() for answer in answers}
    sent = {hashlib.sha256(body).hexdigest()}
    return Cost(
        direct_s=tuple(times[0]),
        tapped_s=tuple(times[1]),
        identical=len(whole) == 1 and recorded == whole and set(arrived) == sent,
    )


def _server(arrived: list[str]) -> Starlette:
    async def answer(request: Request) -> Response:
        arrived.append(hashlib.sha256(await request.body()).hexdigest())
        return StreamingResponse(_words(), media_type="text/event-stream")

    return Starlette(routes=[Route(_PATH, answer, methods=["POST"])])


async def _words() -> AsyncIterator[bytes]:
    for _ in range(_CHUNKS):
        await asyncio.sleep(_CHUNK_EVERY_S)
        yield _CHUNK
    yield b"data: [DONE]\n\n"
