import asyncio
import hashlib
import socket
from pathlib import Path

import httpx
import pytest
from tests.proxy.tapping import (
    CHAT,
    EVENTS,
    OPENCODE,
    REQUEST,
    Answer,
    Parts,
    streaming,
    tapped,
)
from tests.waiting import wait_until

from llamatrix.proxy.call import CallKind, Trouble, read_calls
from llamatrix.proxy.cost import measure_cost
from llamatrix.proxy.proxy import Tap
from llamatrix.proxy.serving import address, loopback_listener, serving

HALF = b'data: {"choices":[{"index":0,"delta":{"content":"hel'


def test_an_answer_passes_unchanged_however_it_is_cut(tmp_path: Path) -> None:
    parts = [EVENTS[at : at + 7] for at in range(0, len(EVENTS), 7)]
    with tapped(tmp_path, streaming(*parts)) as (_, client):
        got = client.post(CHAT, content=REQUEST, headers=OPENCODE)
    assert got.content == EVENTS
    (call,) = read_calls(tmp_path)
    assert call.answer_sha256 == hashlib.sha256(EVENTS).hexdigest()
    assert (tmp_path / "0001.answer.txt").read_bytes() == EVENTS
    assert (tmp_path / "0001.request.json").read_bytes() == REQUEST


def test_a_request_arrives_unchanged(tmp_path: Path) -> None:
    arrived: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        arrived.append(request)
        return httpx.Response(200, stream=Parts(b"{}"))

    with tapped(tmp_path, answer) as (_, client):
        headers = {**OPENCODE, "x-session-id": "ses_1", "authorization": "Bearer none"}
        client.post(f"{CHAT}?a=1", content=REQUEST, headers=headers)
    (request,) = arrived
    assert request.content == REQUEST
    assert request.url == f"http://model{CHAT}?a=1"
    assert headers.items() <= dict(request.headers).items()


def test_call_records_usage_timings_and_tool_calls(tmp_path: Path) -> None:
    with tapped(tmp_path, streaming(EVENTS)) as (tap, client):
        client.post(CHAT, content=REQUEST, headers=OPENCODE)
    (call,) = tap.calls
    assert (call.kind, call.status, call.trouble) == (CallKind.MAIN, 200, None)
    assert (call.prompt_tokens, call.cached_tokens) == (100, 60)
    assert (call.generated_tokens, call.reasoning_tokens) == (7, None)
    assert call.timings
    assert (call.timings.prompt_n, call.timings.prompt_ms) == (40, 20.5)
    assert (call.tool_calls, call.finish_reason) == (("bash",), "tool_calls")
    assert call.first_byte_s is not None
    assert call.first_token_s is not None
    assert call.begun_s <= call.first_byte_s <= call.first_token_s <= call.ended_s


def test_unstreamed_answer_is_read(tmp_path: Path) -> None:
    whole = (
        b'{"choices":[{"message":{"content":"hi"},"finish_reason":"stop"}],'
        b'"usage":{"prompt_tokens":3,"completion_tokens":1}}'
    )
    with tapped(tmp_path, streaming(whole)) as (tap, client):
        client.post(CHAT, content=REQUEST.replace(b"true", b"false"), headers=OPENCODE)
    assert (tap.calls[0].prompt_tokens, tap.calls[0].finish_reason) == (3, "stop")
    assert tap.calls[0].trouble is None


def refuse(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("refused", request=request)


@pytest.mark.parametrize(
    ("answer", "status", "trouble"),
    [
        (refuse, 502, Trouble.UNREACHABLE),
        (streaming(b"boom", status=500), 500, Trouble.FAILED),
        (streaming(b"no", status=400), 400, Trouble.REFUSED),
        (streaming(b'data: {"error":{"code":500}}\n\n'), 200, Trouble.ERROR),
        (streaming(EVENTS.removesuffix(b"data: [DONE]\n\n")), 200, Trouble.CUT),
    ],
)
def test_each_failure_has_its_trouble(
    tmp_path: Path, answer: Answer, status: int, trouble: Trouble
) -> None:
    with tapped(tmp_path, answer) as (tap, client):
        got = client.post(CHAT, content=REQUEST, headers=OPENCODE)
    assert got.status_code == status
    assert tap.calls[0].trouble is trouble
    assert tap.calls[0].error


def test_an_answer_that_breaks_off_breaks_off_for_the_client_too(
    tmp_path: Path,
) -> None:
    with tapped(tmp_path, streaming(HALF, httpx.ReadError)) as (tap, client):
        with pytest.raises(httpx.RemoteProtocolError):
            client.post(CHAT, content=REQUEST, headers=OPENCODE)
        wait_until(lambda: tap.calls_open == 0)
    assert tap.calls[0].trouble is Trouble.CUT
    assert (tmp_path / "0001.answer.txt").read_bytes() == HALF


def test_client_disconnect_is_not_a_server_failure(tmp_path: Path) -> None:
    with tapped(tmp_path, streaming(HALF, stall_s=60)) as (tap, client):
        with client.stream("POST", CHAT, content=REQUEST, headers=OPENCODE) as got:
            parts = got.iter_raw()
            assert next(parts) == HALF
            assert tap.calls_open == 1
        wait_until(lambda: tap.calls_open == 0)
    assert tap.calls[0].trouble is Trouble.LEFT
    assert tap.failures_in_a_row() == 0


def test_a_call_that_waits_when_the_turn_ends_is_recorded(tmp_path: Path) -> None:
    """As in a prefill: no header has come yet."""

    async def never(_: httpx.Request) -> httpx.Response:
        await asyncio.sleep(60)
        raise AssertionError

    tap = Tap(
        upstream="http://model", folder=tmp_path, transport=httpx.MockTransport(never)
    )
    with loopback_listener() as listener:
        with (
            serving(tap.app(), [listener]),
            httpx.Client(base_url=address(listener), trust_env=False) as client,
            pytest.raises(httpx.ReadTimeout),
        ):
            client.post(CHAT, content=REQUEST, headers=OPENCODE, timeout=0.3)
        wait_until(lambda: tap.calls_open == 0)
    (call,) = read_calls(tmp_path)
    assert call.trouble is Trouble.LEFT
    assert (tmp_path / "0001.request.json").read_bytes() == REQUEST


def test_successful_call_resets_the_failure_count(tmp_path: Path) -> None:
    answers = iter([500, 200, 500, 500])

    def answer(_: httpx.Request) -> httpx.Response:
        status = next(answers)
        body = EVENTS if status == 200 else b"boom"
        return httpx.Response(status, stream=Parts(body))

    with tapped(tmp_path, answer) as (tap, client):
        counts = []
        for _ in range(4):
            client.post(CHAT, content=REQUEST, headers=OPENCODE)
            wait_until(lambda: tap.calls_open == 0)
            counts.append(tap.failures_in_a_row())
    assert counts == [1, 0, 1, 2]


def test_a_planted_key_reaches_the_client_and_no_disk(tmp_path: Path) -> None:
    key = 'pl"anted-key-123'
    spelled = b'data: {"error":{"message":"pl\\"anted-key-123"}}\n\n'
    request = REQUEST.replace(b"\xc3\xa9", b'pl\\"anted-key-123')
    with tapped(tmp_path, streaming(spelled), secrets=(key,)) as (tap, client):
        assert client.post(CHAT, content=request, headers=OPENCODE).content == spelled
    written = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"anted-key" not in written
    assert "anted-key" not in tap.calls[0].error
    assert written.count(b"[redacted]") == 3


def test_measured_calls_pass_the_tap_unchanged(
    tmp_path: Path,
) -> None:
    cost = measure_cost(tmp_path, pairs=3)
    assert cost.identical
    assert len(cost.direct_s) == len(cost.tapped_s) == 3


def test_small_pieces_are_sent_at_once() -> None:
    """What asyncio looks at before it sets TCP_NODELAY on accepted connections."""
    with loopback_listener() as listener:
        assert listener.proto == socket.IPPROTO_TCP


def test_a_key_that_is_streamed_piece_by_piece_reaches_no_disk(tmp_path: Path) -> None:
    key = "planted-key-1234"
    for where in ("content", "reasoning_content"):
        chunk = '{"choices":[{"index":0,"delta":{"%s":"%s"}}]}'
        pieces = (key[at : at + 4] for at in range(0, len(key), 4))
        events = "".join(f"data: {chunk % (where, piece)}\n\n" for piece in pieces)
        body = f"{events}data: [DONE]\n\n".encode()
        folder = tmp_path / where
        with tapped(folder, streaming(body), secrets=(key,)) as (_, client):
            got = client.post(CHAT, content=REQUEST, headers=OPENCODE)
        assert got.content == body
        assert b"spelled a key out" in (folder / "0001.answer.txt").read_bytes()
        (call,) = read_calls(folder)
        assert call.answer_sha256 == hashlib.sha256(body).hexdigest()


@pytest.mark.parametrize(
    ("upstream", "path"),
    [
        ("http://model", "/v1/chat/completions"),
        ("http://model/v1", "/v1/chat/completions"),
        ("http://model/api/v3", "/api/v3/chat/completions"),
    ],
)
def test_an_upstream_has_its_own_base_path_and_gets_its_own_key(
    tmp_path: Path, upstream: str, path: str
) -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return streaming(EVENTS)(request)

    tap = Tap(
        upstream=upstream,
        bearer="its-key",
        folder=tmp_path,
        transport=httpx.MockTransport(answer),
    )
    with (
        loopback_listener() as listener,
        serving(tap.app(), [listener]),
        httpx.Client(base_url=address(listener), trust_env=False) as client,
    ):
        client.post(
            "/v1/chat/completions",
            json={"messages": []},
            headers={"Authorization": "Bearer the-agents"},
        )
    (request,) = seen
    assert request.url.path == path
    assert request.headers.get_list("authorization") == ["Bearer its-key"]
    assert not any(b"its-key" in file.read_bytes() for file in tmp_path.iterdir())
