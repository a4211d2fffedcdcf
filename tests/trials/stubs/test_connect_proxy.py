"""The proxy's own ways: what is said to it early, and what it cannot make sense of."""

import socket
from urllib.parse import urlsplit

import pytest
from tests.sandbox.test_forwarding import echoing

from llamatrix.trials.stubs.connect_proxy import connect_proxy


def said_to(way: str, said: bytes, *, wait_for: bytes) -> bytes:
    """All that came up to `wait_for`, or to the end."""
    heard = b""
    there = urlsplit(way)
    with socket.create_connection((there.hostname, there.port), timeout=10) as mine:
        mine.sendall(said)
        while wait_for not in heard and (part := mine.recv(1000)):
            heard += part
    return heard


def test_what_is_sent_with_the_request_is_passed_on() -> None:
    head = b"CONNECT api.example:443 HTTP/1.1\r\nHost: api.example\r\n\r\n"
    with echoing() as port, connect_proxy({"api.example"}, port=port) as way:
        heard = said_to(way["HTTPS_PROXY"], head + b"early", wait_for=b"early")
    assert heard == b"HTTP/1.1 200 Connection established\r\n\r\nearly"


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET http://api.example/ HTTP/1.1\r\n\r\n", b"405"),
        (b"CONNECT api.example:https HTTP/1.1\r\n\r\n", b"405"),
        (b"CONNECT\r\n\r\n", b"502"),
        (b"x" * (1 << 15), b"502"),
    ],
)
def test_other_requests_than_connect_are_refused(head: bytes, status: bytes) -> None:
    with connect_proxy({"api.example"}, port=9) as way:
        heard = said_to(way["HTTPS_PROXY"], head, wait_for=b"\r\n")
    assert heard.startswith(b"HTTP/1.1 " + status)
