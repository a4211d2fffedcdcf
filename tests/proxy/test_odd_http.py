"""No legal HTTP, however odd, makes the tap lose a call or its tokens."""

import gzip
import hashlib
import zlib
from pathlib import Path

import httpx
import pytest
from tests.proxy.tapping import (
    CHAT,
    EVENTS,
    OPENCODE,
    REQUEST,
    Parts,
    sent,
    streaming,
    tapped,
)
from tests.waiting import wait_until

from llamatrix.proxy.call import CallKind, read_calls
from llamatrix.proxy.totals import totals

AGENT = b"User-Agent: opencode/1.18.33\r\n"
LENGTH = b"Content-Length: %d\r\n" % len(REQUEST)
GZIPPED, DEFLATED = gzip.compress(REQUEST), zlib.compress(REQUEST)


def head(*lines: bytes, version: bytes = b"1.1", target: bytes = b"") -> bytes:
    first = b"POST %s HTTP/%s\r\n" % (target or CHAT.encode(), version)
    return first + b"Host: model\r\n" + AGENT + b"".join(lines) + b"\r\n"


def chunked(body: bytes) -> bytes:
    return b"5;name=value\r\n%s\r\n%x\r\n%s\r\n0\r\nX-Trailer: 1\r\n\r\n" % (
        body[:5],
        len(body) - 5,
        body[5:],
    )


ODD = {
    "header in UTF-8": head(LENGTH, "X-Name: Zoë ☃\r\n".encode()) + REQUEST,
    "header in Latin-1": head(LENGTH, b"X-Name: Zo\xeb\r\n") + REQUEST,
    "folded header": head(LENGTH, b"X-Name: one\r\n two\r\n\tthree\r\n") + REQUEST,
    "header twice": head(LENGTH, b"X-Name: 1\r\nX-Name: 2\r\n") + REQUEST,
    "empty header": head(LENGTH, b"X-Name:\r\n") + REQUEST,
    "long header": head(LENGTH, b"X-Name: %s\r\n" % (b"a" * 200_000)) + REQUEST,
    "many headers": head(LENGTH, *(b"X-%d: 1\r\n" % n for n in range(90))) + REQUEST,
    "hop-by-hop header": head(LENGTH, b"Connection: close, X-Hop\r\nX-Hop: 1\r\n")
    + REQUEST,
    "chunked body": head(b"Transfer-Encoding: chunked\r\n") + chunked(REQUEST),
    "gzip body": head(
        b"Content-Encoding: gzip\r\nContent-Length: %d\r\n" % len(GZIPPED)
    )
    + GZIPPED,
    "deflate body": head(
        b"Content-Encoding: deflate\r\nContent-Length: %d\r\n" % len(DEFLATED)
    )
    + DEFLATED,
    "byte order mark": head(b"Content-Length: %d\r\n" % (len(REQUEST) + 3))
    + b"\xef\xbb\xbf"
    + REQUEST,
    "HTTP/1.0": b"POST %s HTTP/1.0\r\n%s%s\r\n%s"
    % (CHAT.encode(), AGENT, LENGTH, REQUEST),
    "HTTP/1.0 kept alive": head(LENGTH, b"Connection: keep-alive\r\n", version=b"1.0")
    + REQUEST,
    "waits for 100": head(LENGTH, b"Expect: 100-continue\r\n") + REQUEST,
    "whole address": head(LENGTH, target=b"http://model" + CHAT.encode()) + REQUEST,
    "escaped path": head(LENGTH, target=b"/v1/chat/%63ompletions") + REQUEST,
    "odd query": head(LENGTH, target=CHAT.encode() + b"?a=%ff&b=[1]|{}&&=") + REQUEST,
}


@pytest.mark.parametrize("name", ODD)
def test_an_odd_request_is_answered_and_counted(name: str, tmp_path: Path) -> None:
    arrived: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        arrived.append(request)
        return httpx.Response(200, stream=Parts(EVENTS))

    with tapped(tmp_path, answer) as (_, client):
        got = sent(client, ODD[name])
    assert b" 200 OK\r\n" in got
    assert b"[DONE]" in got
    (call,) = read_calls(tmp_path)
    assert (call.kind, call.trouble) == (CallKind.MAIN, None)
    counted = totals([call])
    assert (counted.api_calls, counted.other_calls) == (1, 0)
    assert (counted.prompt_tokens, counted.generated_tokens) == (40, 7)
    (request,) = arrived
    assert request.url.path == CHAT
    assert call.request_sha256 == hashlib.sha256(request.content).hexdigest()
    recorded = (tmp_path / "0001.request.json").read_bytes()
    assert recorded.removeprefix(b"\xef\xbb\xbf") == REQUEST


def test_headers_arrive_as_the_bytes_they_were(tmp_path: Path) -> None:
    arrived: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        arrived.append(request)
        headers = [(b"x-back", b"Zo\xeb"), (b"x-back", b"2")]
        return httpx.Response(200, headers=headers, stream=Parts(EVENTS))

    with tapped(tmp_path, answer) as (_, client):
        got = sent(
            client,
            head(
                LENGTH,
                "X-Name: ☃\r\nX-Name: 2\r\n".encode(),
                b"Connection: X-Hop\r\nX-Hop: 1\r\n",
            )
            + REQUEST,
        )
    names = [v for k, v in arrived[0].headers.raw if k.lower() == b"x-name"]
    assert names == ["☃".encode(), b"2"]
    assert "x-hop" not in arrived[0].headers
    assert b"x-back: Zo\xeb\r\n" in got
    assert b"x-back: 2\r\n" in got


def test_two_requests_on_one_connection_are_two_calls(tmp_path: Path) -> None:
    with tapped(tmp_path, streaming(EVENTS)) as (_, client):
        got = sent(client, (head(LENGTH) + REQUEST) * 2, answers=2)
    assert got.count(b"[DONE]") == 2
    assert totals(read_calls(tmp_path)).generated_tokens == 14


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_a_compressed_answer_is_passed_on_and_read(
    encoding: str, tmp_path: Path
) -> None:
    pack = gzip.compress if encoding == "gzip" else zlib.compress
    body = pack(EVENTS)

    def answer(_: httpx.Request) -> httpx.Response:
        headers = {"content-encoding": encoding}
        return httpx.Response(200, headers=headers, stream=Parts(body[:9], body[9:]))

    with tapped(tmp_path, answer) as (tap, client):
        got = client.post(CHAT, content=REQUEST, headers=OPENCODE)
    assert got.content == EVENTS
    (call,) = tap.calls
    assert totals([call]).generated_tokens == 7
    assert call.answer_sha256 == hashlib.sha256(body).hexdigest()
    assert (tmp_path / "0001.answer.txt").read_bytes() == EVENTS


def test_no_key_is_kept_in_compressed_text(tmp_path: Path) -> None:
    body = gzip.compress(REQUEST.replace(b"\xc3\xa9", b"planted-key-1234"))
    headers = {**OPENCODE, "content-encoding": "gzip"}
    key = ("planted-key-1234",)
    with tapped(tmp_path, streaming(EVENTS), secrets=key) as (_, client):
        client.post(CHAT, content=body, headers=headers)
    assert b"[redacted]" in (tmp_path / "0001.request.json").read_bytes()


def test_a_request_that_is_cut_is_recorded_and_reaches_no_server(
    tmp_path: Path,
) -> None:
    def answer(_: httpx.Request) -> httpx.Response:
        raise AssertionError

    with tapped(tmp_path, answer) as (tap, client):
        sent(client, head(LENGTH) + REQUEST[:9], answers=0)
        wait_until(lambda: bool(tap.calls))
    (call,) = read_calls(tmp_path)
    assert call.trouble == "left"
