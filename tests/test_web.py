from collections.abc import Iterator

import httpx
import pytest
from msgspec import Struct

from llamatrix.web import LateAnswerError, NoAnswerError, WrongAnswerError, site


class Greeting(Struct):
    hello: str


def test_json_is_sent_and_decoded_to_a_type() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        assert request.headers["Content-Type"] == "application/json"
        return httpx.Response(200, content=request.content)

    with site("http://host", transport=httpx.MockTransport(answer)) as place:
        reply = place.post("/echo", {"hello": "you"}, timeout_s=1)
    assert reply.read(Greeting) == Greeting(hello="you")
    assert reply.url == "http://host/echo"


def test_status_other_than_200_is_not_decoded() -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(500, text="went wrong"))
    with site("http://host", transport=transport) as place:
        reply = place.get("/x", timeout_s=1)
    assert not reply.ok
    with pytest.raises(WrongAnswerError, match="http://host/x: HTTP 500: went wrong"):
        reply.read(Greeting)


def test_answer_of_another_type_names_the_url() -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(200, text='{"hello": 1}'))
    with site("http://host", transport=transport) as place:
        reply = place.get("/x", timeout_s=1)
    with pytest.raises(WrongAnswerError, match=r"http://host/x: Expected `str`"):
        reply.read(Greeting)


def test_stream_yields_lines_and_reports_a_broken_connection() -> None:
    class Cut(httpx.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            yield b"one\ntwo\n"
            raise httpx.ReadTimeout("too late")

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/refused":
            return httpx.Response(400, text="too long")
        return httpx.Response(200, stream=Cut())

    with site("http://host", transport=httpx.MockTransport(answer)) as place:
        lines = place.stream("/all", {}, timeout_s=1)
        assert [next(lines), next(lines)] == ["one", "two"]
        with pytest.raises(LateAnswerError, match="POST http://host/all: too late"):
            next(lines)
        with pytest.raises(WrongAnswerError, match="HTTP 400: too long"):
            next(place.stream("/refused", {}, timeout_s=1))


def test_missing_answer_is_reported_with_the_url() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    with (
        site("http://host", transport=httpx.MockTransport(refuse)) as place,
        pytest.raises(NoAnswerError, match="GET http://host/health: refused"),
    ):
        place.get("/health", timeout_s=1)


def test_closing_stream_asks_for_the_end_of_its_connection() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, text=request.headers["Connection"])

    with site("http://host", transport=httpx.MockTransport(answer)) as place:
        assert list(place.stream("/x", {}, timeout_s=1)) == ["keep-alive"]
        assert list(place.stream("/x", {}, timeout_s=1, closing=True)) == ["close"]
