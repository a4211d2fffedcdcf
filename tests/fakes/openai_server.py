"""A server of the OpenAI API with a fixed speed, and whatever is wrong with it."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from llamatrix.proxy.serving import address, loopback_listener, serving

TEMPLATE_TOKENS = 7


@dataclass(kw_only=True)
class OpenAiServer:
    """Two tokens for each word of four letters and more, else one."""

    prompt_s: float = 0.0
    token_s: float = 0.0
    status: int = 200
    error: str = "no"
    usage: bool = True
    streams: bool = True
    cut: bool = False
    noise: str = ""
    """Sent in place of an answer."""
    most_tokens: int = 10_000
    cached: bool = False
    key: str = ""
    template_tokens: int = TEMPLATE_TOKENS
    version: str = "one"
    prompts: list[str] = field(default_factory=list)
    open_calls: int = 0
    most_open: int = 0

    async def models(self, request: Request) -> Response:
        return self._refusal(request) or JSONResponse(
            {"data": [{"id": "m", "owned_by": "me"}]}
        )

    def _refusal(self, request: Request) -> Response | None:
        if self.key and request.headers.get("Authorization") != f"Bearer {self.key}":
            return JSONResponse({"error": {"message": "who?"}}, status_code=401)
        return None

    async def answer(self, request: Request) -> Response:
        if refusal := self._refusal(request):
            return refusal
        if self.status != 200:
            message = {"error": {"message": f"{self.error} at {request.url}"}}
            return JSONResponse(message, status_code=self.status)
        asked = json.loads(await request.body())
        text = asked["messages"][0]["content"]
        self.prompts.append(text)
        if not self.streams:
            return JSONResponse(
                {"choices": [{"message": {"content": "1"}, "finish_reason": "stop"}]}
            )
        return StreamingResponse(
            self._events(text, min(asked["max_tokens"], self.most_tokens)),
            media_type="text/event-stream",
        )

    async def _events(self, text: str, tokens: int) -> AsyncIterator[bytes]:
        if self.noise:
            yield self.noise.encode()
            return
        self.open_calls += 1
        self.most_open = max(self.most_open, self.open_calls)
        yield self._chunk({"role": "assistant", "content": None})
        await asyncio.sleep(self.prompt_s)
        for number in range(tokens):
            yield self._chunk({"content": f"{number}\n"})
            await asyncio.sleep(self.token_s)
            if self.cut:
                return
        yield self._chunk({}, "length")
        if self.usage:
            count = self.template_tokens + sum(1 + (len(w) > 3) for w in text.split())
            usage: dict[str, Any] = {
                "prompt_tokens": count,
                "completion_tokens": tokens,
            }
            if self.cached:
                usage["prompt_tokens_details"] = {"cached_tokens": count - 1}
            yield _event({"choices": [], "usage": usage})
        yield b"data: [DONE]\n\n"
        self.open_calls -= 1

    def _chunk(self, delta: dict[str, object], finish: str | None = None) -> bytes:
        choices = [{"index": 0, "delta": delta, "finish_reason": finish}]
        return _event({"choices": choices, "system_fingerprint": self.version})

    @contextmanager
    def running(self) -> Iterator[str]:
        """Serve while the block runs; yields the address with `/v1`."""
        routes = [
            Route("/v1/models", self.models),
            Route("/v1/chat/completions", self.answer, methods=["POST"]),
        ]
        with (
            loopback_listener() as listener,
            serving(Starlette(routes=routes), [listener]),
        ):
            yield f"{address(listener)}/v1"


def _event(content: dict[str, object]) -> bytes:
    return b"data: " + json.dumps(content).encode() + b"\n\n"
