"""A tap before a played model server, and bytes sent to it as they are."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from tests.waiting import wait_until

from llamatrix.agents.opencode.agent import OpenCode
from llamatrix.proxy.proxy import Tap
from llamatrix.proxy.serving import address, loopback_listener, serving
from llamatrix.redaction import Redaction

CHAT = "/v1/chat/completions"
AGENT = OpenCode(version="1.18.33", model="m", context_tokens=9000, output_tokens=900)
OPENCODE = {"user-agent": "opencode/1.18.33"}
REQUEST = (
    b'{"model":"m","stream":true,"messages":[{"role":"user","content":"\xc3\xa9"}]}'
)
EVENTS = (
    b'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":null}}]}\n\n'
    b'data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"c","type":'
    b'"function","function":{"name":"bash","arguments":""}}]}}]}\n\n'
    b'data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":'
    b'{"arguments":"{}"}}]}}]}\n\n'
    b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}\n\n'
    b'data: {"choices":[],"usage":{"completion_tokens":7,"prompt_tokens":100,'
    b'"prompt_tokens_details":{"cached_tokens":60}},"timings":{"cache_n":60,'
    b'"prompt_n":40,"prompt_ms":20.5,"predicted_n":7,"predicted_ms":70.0}}\n\n'
    b"data: [DONE]\n\n"
)

Answer = Callable[[httpx.Request], httpx.Response]


class Parts(httpx.AsyncByteStream):
    """A body that comes in parts, and may break off or never end."""

    def __init__(self, *parts: bytes | type[Exception], stall_s: float = 0) -> None:
        self._parts = parts
        self._stall_s = stall_s

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for part in self._parts:
            if not isinstance(part, bytes):
                raise part("gone")
            yield part
        await asyncio.sleep(self._stall_s)


def streaming(
    *parts: bytes | type[Exception], stall_s: float = 0, status: int = 200
) -> Answer:
    return lambda _: httpx.Response(status, stream=Parts(*parts, stall_s=stall_s))


@contextmanager
def tapped(
    folder: Path, answer: Answer, *, secrets: tuple[str, ...] = ()
) -> Iterator[tuple[Tap, httpx.Client]]:
    tap = Tap(
        upstream="http://model",
        folder=folder,
        transport=httpx.MockTransport(answer),
        classify=AGENT.classify_request,
        redaction=Redaction(secrets=secrets),
    )
    with (
        loopback_listener() as listener,
        serving(tap.app(), [listener]),
        httpx.Client(base_url=address(listener), trust_env=False) as client,
    ):
        yield tap, client
        wait_until(lambda: tap.calls_open == 0)


def sent(client: httpx.Client, content: bytes, *, answers: int = 1) -> bytes:
    """Send raw bytes; return this number of answers, or all until the connection ends."""
    place = (str(client.base_url.host), client.base_url.port)
    with socket.create_connection(place, timeout=10) as line:
        line.sendall(content)
        got = b""
        while got.count(b"\r\n0\r\n\r\n") < answers and (part := line.recv(1 << 16)):
            got += part
        return got
