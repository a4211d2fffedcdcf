"""Bytes led from one port to another, and an end that leaves nothing pending."""

import gc
import logging
import os
import select
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import httpx
import pytest
from anyio.abc import SocketStream

from llamatrix import shell
from llamatrix.proxy.serving import loopback_listener
from llamatrix.sandbox.forwarding import answering, forwarding


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


def test_forwarded_connection_passes_bytes_both_ways() -> None:
    with (
        echoing() as port,
        loopback_listener() as door,
        forwarding([(door, port)]),
    ):
        _echoed(door)


def test_connection_reset_before_it_is_accepted_ends_no_other() -> None:
    with echoing() as port, loopback_listener() as door:
        with socket.create_connection(door.getsockname()) as rude:
            rude.setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
            )
        with forwarding([(door, port)]):
            _echoed(door)


def test_connection_closed_while_a_handler_waits_ends_no_other() -> None:
    async def answer(caller: SocketStream) -> None:
        await caller.send(await caller.receive())

    with loopback_listener() as door, answering([(door, answer)]):
        socket.create_connection(door.getsockname()).close()
        _echoed(door)


def _echoed(door: socket.socket) -> None:
    with socket.create_connection(door.getsockname(), timeout=20) as mine:
        mine.sendall(b"hello")
        assert mine.recv(5) == b"hello"


def test_error_raised_in_the_block_passes_unchanged() -> None:
    with (
        pytest.raises(KeyboardInterrupt),
        loopback_listener() as door,
        forwarding([(door, 9)]),
    ):
        raise KeyboardInterrupt


def test_handler_error_is_raised() -> None:
    async def fail(_: SocketStream) -> None:
        raise ZeroDivisionError

    def knock() -> None:
        with (
            loopback_listener() as door,
            answering([(door, fail)]),
            socket.create_connection(door.getsockname()) as mine,
        ):
            assert mine.recv(1) == b""

    with pytest.raises(ExceptionGroup) as raised:
        knock()
    assert raised.value.subgroup(ZeroDivisionError)


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


FLOOD = """
import logging, resource, socket, sys
from starlette.responses import PlainTextResponse
from llamatrix.sandbox.forwarding import forwarding
from llamatrix.proxy.serving import loopback_listener, serving

resource.setrlimit(resource.RLIMIT_NOFILE, (256, resource.getrlimit(7)[1]))
with (
    loopback_listener() as service,
    loopback_listener() as door,
    serving(PlainTextResponse("fine"), [service]),
    forwarding([(door, service.getsockname()[1])]),
):
    print(*(each.getsockname()[1] for each in (door, service)), flush=True)
    sys.stdin.read()
print("ended well", flush=True)
"""


def test_more_connections_than_open_files_end_nothing() -> None:
    """900 connections to a harness with 256 files; then they close, and it serves."""
    environment = {**os.environ, "PYTHONPATH": str(Path(shell.__file__).parents[1])}
    with (
        shell.started(
            [sys.executable, "-c", FLOOD], stdin=subprocess.PIPE, env=environment
        ) as harness,
        ExitStack() as held,
    ):
        assert harness.stdout
        assert harness.stderr
        assert harness.stdin
        ports = [int(word) for word in harness.stdout.readline().split()]
        for number in range(900):
            client = held.enter_context(socket.socket())
            client.setblocking(False)  # noqa: FBT003
            client.connect_ex(("127.0.0.1", ports[number % 2]))
        assert select.select([harness.stdout], [], [], 1)[0] == []
        held.close()
        for port in ports:
            assert httpx.get(f"http://127.0.0.1:{port}", timeout=60).text == "fine"
        harness.stdin.close()
        assert harness.stdout.read() == b"ended well\n"
        assert harness.stderr.read() == b""
