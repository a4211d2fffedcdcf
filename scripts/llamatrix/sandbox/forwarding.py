"""Forwards connections from a sandbox's loopback to ports of this machine."""

import errno
import resource
import socket
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial

import anyio
from anyio.abc import ByteStream, SocketStream, TaskStatus
from anyio.from_thread import start_blocking_portal

Handler = Callable[[SocketStream], Awaitable[object]]
_GONE = (
    *(OSError, anyio.BrokenResourceError, anyio.ClosedResourceError),
    anyio.EndOfStream,
)
"""Raised where the other side of a stream is gone."""
EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
"""Errors of `accept` while there are too many open files, here or elsewhere."""
_RETRY_S = 0.1
_RESERVED_FILES = 64
"""Open files for the rest of the harness."""
_FILES_PER_CONNECTION = 6
"""Two for a call through the proxy, three for a forwarded one, one spare."""
_MAX_CONNECTIONS = 256


def connection_limit() -> int:
    """Return how many connections may be open at once under this `ulimit -n`.

    Further ones wait: an agent can open any number, and the harness needs files too.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return _MAX_CONNECTIONS
    free = (soft - _RESERVED_FILES) // _FILES_PER_CONNECTION
    return max(8, min(_MAX_CONNECTIONS, free))


@contextmanager
def forwarding(ways: Sequence[tuple[socket.socket, int]]) -> Iterator[None]:
    """Pass bytes both ways between each listening socket and 127.0.0.1:port."""
    with answering(
        [(listener, partial(_forward, port=port)) for listener, port in ways]
    ):
        yield


@contextmanager
def answering(listeners: Sequence[tuple[socket.socket, Handler]]) -> Iterator[None]:
    """Handle the connections to each socket in a thread while the block runs.

    Open connections are cut when the block is left.
    """
    if not listeners:
        yield
        return
    with start_blocking_portal() as portal:
        running, scope = portal.start_task(_answering, listeners)
        try:
            yield
        finally:
            portal.call(scope.cancel)
        running.result()  # raises what a handler did not expect


async def _answering(
    listeners: Sequence[tuple[socket.socket, Handler]],
    *,
    task_status: TaskStatus[anyio.CancelScope],
) -> None:
    slots = anyio.Semaphore(connection_limit() + len(listeners))
    async with anyio.create_task_group() as group:
        for listener, handler in listeners:
            listener.settimeout(0)
            group.start_soon(_serve, listener, handler, slots)
        task_status.started(group.cancel_scope)


async def _serve(
    listener: socket.socket, handler: Handler, slots: anyio.Semaphore
) -> None:
    """Accept by hand: a cancelled `sock_accept` of asyncio (3.11) loses a connection."""
    async with anyio.create_task_group() as group:
        while True:
            await slots.acquire()
            group.start_soon(_handled, handler, await _accepted(listener), slots)


async def _accepted(listener: socket.socket) -> socket.socket:
    """Return the next connection; wait while there are too many open files."""
    while True:
        await anyio.wait_readable(listener)
        try:
            return listener.accept()[0]
        except (BlockingIOError, ConnectionError):
            continue
        except OSError as error:
            if error.errno not in EXHAUSTED:
                raise
            await anyio.sleep(_RETRY_S)


async def _handled(
    handler: Handler, client: socket.socket, slots: anyio.Semaphore
) -> None:
    """Handle one connection; where its other side is gone, only this one ends."""
    try:
        with suppress(*_GONE):
            try:
                stream = await SocketStream.from_socket(client)
            except ValueError:  # reset before it was accepted
                client.close()
                return
            async with stream:
                await handler(stream)
    finally:
        slots.release()


async def _forward(here: SocketStream, *, port: int) -> None:
    async with await anyio.connect_tcp("127.0.0.1", port) as there:
        await join(here, there)


async def join(here: ByteStream, there: ByteStream) -> None:
    """Pass on what either side sends, until both have ended."""
    async with anyio.create_task_group() as group:
        group.start_soon(_copy, here, there)
        group.start_soon(_copy, there, here)


async def _copy(source: ByteStream, sink: ByteStream) -> None:
    with suppress(*_GONE):
        async for chunk in source:
            await sink.send(chunk)
        await sink.send_eof()
