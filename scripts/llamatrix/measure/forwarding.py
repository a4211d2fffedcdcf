"""Leads connections from a sandbox's loopback to a port of this machine's."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager

_CHUNK_BYTES = 1 << 16


@contextmanager
def forwarding(ways: Sequence[tuple[socket.socket, int]]) -> Iterator[None]:
    """Pass bytes both ways between each listening socket and 127.0.0.1:port."""
    if not ways:
        yield
        return
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="forwarding", daemon=True)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(_open(ways), loop).result()
        yield
    finally:
        asyncio.run_coroutine_threadsafe(_close(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _open(ways: Sequence[tuple[socket.socket, int]]) -> None:
    for listener, port in ways:
        await asyncio.start_server(_lead_to(port), sock=listener)


async def _close() -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


_Lead = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def _lead_to(port: int) -> _Lead:
    async def lead(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # cancelled by us: Python 3.11 prints a traceback for a task that says so
        ended = contextlib.suppress(OSError, asyncio.CancelledError)
        with contextlib.closing(writer), ended:
            there = await asyncio.open_connection("127.0.0.1", port)
            with contextlib.closing(there[1]):
                await asyncio.gather(pour(reader, there[1]), pour(there[0], writer))

    return lead


async def pour(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    """Pass on what comes, to its end."""
    with contextlib.suppress(OSError):
        while chunk := await source.read(_CHUNK_BYTES):
            sink.write(chunk)
            await sink.drain()
        if sink.can_write_eof():
            sink.write_eof()
