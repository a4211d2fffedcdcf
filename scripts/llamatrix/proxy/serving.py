"""Serves a web application on open sockets, in a thread, while a block runs."""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from llamatrix.errors import MeasureError
from llamatrix.sandbox.forwarding import EXHAUSTED, connection_limit

_START_TIMEOUT_S = 20.0
_STOP_TIMEOUT_S = 10.0
_HEAD_BYTES = 1 << 18
"""Of a request's line and headers; longer ones are answered with 400 by uvicorn."""


@contextmanager
def serving(
    app: ASGIApp,
    listeners: Sequence[socket.socket],
    *,
    certificate: Path | None = None,
) -> Iterator[None]:
    """Answer on listening sockets; open calls are cut when the block is left.

    `certificate` is a file with a certificate and its key for TLS.
    """
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            access_log=False,
            server_header=False,
            date_header=False,
            loop="asyncio",
            http=_BoundedProtocol,
            h11_max_incomplete_event_size=_HEAD_BYTES,
            backlog=min(64, connection_limit() // 2),
            ws="none",
            log_config=None,
            log_level="critical",
            timeout_graceful_shutdown=1,
            ssl_certfile=certificate,
        )
    )
    thread = threading.Thread(
        target=lambda: asyncio.run(_serve(server, listeners)), daemon=True
    )
    thread.start()
    try:
        until = time.monotonic() + _START_TIMEOUT_S
        while not server.started:
            if not thread.is_alive() or time.monotonic() > until:
                raise MeasureError("the harness's web server did not start; see above")
            time.sleep(0.005)
        yield
    finally:
        server.should_exit = True
        thread.join(_STOP_TIMEOUT_S)


class _BoundedProtocol(H11Protocol):
    """HTTP/1.1 on a limited number of connections; further ones are cut."""

    _refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in H11Protocol
        if len(self.connections) >= connection_limit():
            self._refused = True
            transport.abort()
        else:
            super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._refused:
            super().connection_lost(exc)


async def _serve(server: uvicorn.Server, listeners: Sequence[socket.socket]) -> None:
    asyncio.get_running_loop().set_exception_handler(_report)
    await server.serve(sockets=list(listeners))


def _report(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log what asyncio cannot raise, except a lack of files: it retries soon."""
    error = context.get("exception")
    if not (isinstance(error, OSError) and error.errno in EXHAUSTED):
        loop.default_exception_handler(context)


def loopback_listener() -> socket.socket:
    """Return a listening socket on a free port of this machine's loopback.

    It names its protocol, as asyncio sends small pieces at once only then; otherwise
    each may wait 40 ms for an acknowledgement.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", 0))
    listener.listen(128)
    return listener


def address(listener: socket.socket) -> str:
    """Return `http://127.0.0.1:PORT`."""
    host, port = listener.getsockname()
    return f"http://{host}:{port}"
