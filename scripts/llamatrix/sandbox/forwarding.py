"""Leads connections from a sandbox's loopback to a port of this machine's."""

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
_GONE = (OSError, anyio.BrokenResourceError, anyio.ClosedResourceError)
"""How a stream says that its other side is no longer there."""
EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
"""What `accept` fails with while there are too many open files, here or elsewhere."""
_RETRY_S = 0.1
_RESERVED_FILES = 64
"""Open files that the rest of the harness needs."""
_FILES_PER_CONNECTION = 6
"""Two of a call that the proxy passes on, three of one that is forwarded, one spare."""
_MOST_CONNECTIONS = 256


def connection_limit() -> int:
    """How many connections may be open at once under this process's `ulimit -n`.

    An agent opens as many as it likes; further ones wait, and the harness keeps files.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return _MOST_CONNECTIONS
    free = (soft - _RESERVED_FILES) // _FILES_PER_CONNECTION
    return max(8, min(_MOST_CONNECTIONS, free))


@contextmanager
def forwarding(ways: Sequence[tuple[socket.socket, int]]) -> Iterator[None]:
    """Pass bytes both ways between each listening socket and 127.0.0.1:port."""
    with answering([(door, partial(_lead, port=port)) for door, port in ways]):
        yield


@contextmanager
def answering(doors: Sequence[tuple[socket.socket, Handler]]) -> Iterator[None]:
    """Handle what connects to each socket, for one block, in a thread of its own.

    On leaving nothing more is taken, and what is open is cut.
    """
    if not doors:
        yield
        return
    with start_blocking_portal() as portal:
        running, scope = portal.start_task(_answering, doors)
        try:
            yield
        finally:
            portal.call(scope.cancel)
        running.result()  # raises what a handler did not expect


async def _answering(
    doors: Sequence[tuple[socket.socket, Handler]],
    *,
    task_status: TaskStatus[anyio.CancelScope],
) -> None:
    slots = anyio.Semaphore(connection_limit() + len(doors))
    async with anyio.create_task_group() as group:
        for door, handler in doors:
            door.settimeout(0)
            group.start_soon(_serve, door, handler, slots)
        task_status.started(group.cancel_scope)


async def _serve(door: socket.socket, handler: Handler, slots: anyio.Semaphore) -> None:
    """Accept by hand: a cancelled `sock_accept` of asyncio's (3.11) loses what it took."""
    async with anyio.create_task_group() as group:
        while True:
            await slots.acquire()
            group.start_soon(_handled, handler, await _accepted(door), slots)


async def _accepted(door: socket.socket) -> socket.socket:
    """Return the next connection, also where there are no files for it for a while."""
    while True:
        await anyio.wait_readable(door)
        try:
            return door.accept()[0]
        except (BlockingIOError, ConnectionError):
            continue
        except OSError as error:
            if error.errno not in EXHAUSTED:
                raise
            await anyio.sleep(_RETRY_S)


async def _handled(
    handler: Handler, client: socket.socket, slots: anyio.Semaphore
) -> None:
    """One connection: what ends it ends no other."""
    try:
        with suppress(*_GONE):
            async with await SocketStream.from_socket(client) as stream:
                await handler(stream)
    finally:
        slots.release()


async def _lead(here: SocketStream, *, port: int) -> None:
    async with await anyio.connect_tcp("127.0.0.1", port) as there:
        await join(here, there)


async def join(here: ByteStream, there: ByteStream) -> None:
    """Pass on what comes from either side, until both have ended."""
    async with anyio.create_task_group() as group:
        group.start_soon(_pour, here, there)
        group.start_soon(_pour, there, here)


async def _pour(source: ByteStream, sink: ByteStream) -> None:
    with suppress(*_GONE):
        async for chunk in source:
            await sink.send(chunk)
        await sink.send_eof()
