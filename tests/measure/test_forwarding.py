"""Bytes led from one port to another, and an end that leaves nothing pending."""

import gc
import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
from anyio.abc import SocketStream

from llamatrix.measure.forwarding import answering, forwarding
from llamatrix.measure.tap.serving import loopback_listener


@contextmanager
def echoing() -> Iterator[int]:
    """A port of this machine's where everything said comes back."""

    def answer() -> None:
        with suppress(OSError):
            while True:
                there, _ = listener.accept()
                threading.Thread(target=echo, args=(there,), daemon=True).start()

    def echo(there: socket.socket) -> None:
        with there, suppress(OSError):
            while said := there.recv(100):
                there.sendall(said)

    with loopback_listener() as listener:
        threading.Thread(target=answer, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


def test_bytes_go_both_ways() -> None:
    with (
        echoing() as port,
        loopback_listener() as door,
        forwarding([(door, port)]),
        socket.create_connection(door.getsockname()) as mine,
    ):
        mine.sendall(b"hello")
        assert mine.recv(5) == b"hello"


def test_what_is_raised_inside_comes_out_as_it_is() -> None:
    with (
        pytest.raises(KeyboardInterrupt),
        loopback_listener() as door,
        forwarding([(door, 9)]),
    ):
        raise KeyboardInterrupt


def test_a_handler_that_fails_is_told() -> None:
    async def fail(_: SocketStream) -> None:
        raise ZeroDivisionError

    def knock() -> None:
        with (
            loopback_listener() as door,
            answering([(door, fail)]),
            socket.create_connection(door.getsockname()) as mine,
        ):
            assert mine.recv(1) == b""

    with pytest.raises(ExceptionGroup) as told:
        knock()
    assert told.value.subgroup(ZeroDivisionError)


def test_connections_made_while_it_ends_are_ended_too(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.ERROR)
    with echoing() as port:
        for _ in range(10):
            _end_in_the_midst_of_connections(port)
    gc.collect()
    assert caplog.messages == []


def _end_in_the_midst_of_connections(port: int) -> None:
    begun, over = threading.Event(), threading.Event()
    held: list[socket.socket] = []

    def knock() -> None:
        with suppress(OSError):
            while not over.is_set() and len(held) < 200:
                held.append(socket.create_connection(door.getsockname(), timeout=1))
                begun.set()

    with loopback_listener() as door:
        knocking = threading.Thread(target=knock)
        with forwarding([(door, port)]):
            knocking.start()
            begun.wait()
        over.set()
        knocking.join()
    for each in held:
        each.close()
