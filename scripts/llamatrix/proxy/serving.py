"""A web application of ours served on open sockets, in a thread, for one block."""

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
"""Of a request's line and headers; a longer one gets 400 without being seen by us."""


@contextmanager
def serving(
    app: ASGIApp,
    listeners: Sequence[socket.socket],
    *,
    certificate: Path | None = None,
) -> Iterator[None]:
    """Answer on sockets that listen already; open calls are cut on leaving.

    With a certificate and its key in a file, TLS ends here.
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
                raise MeasureError("our own web server did not start; see above")
            time.sleep(0.005)
        yield
    finally:
        server.should_exit = True
        thread.join(_STOP_TIMEOUT_S)


class _BoundedProtocol(H11Protocol):
    """HTTP/1.1 on as many connections as the harness has files for; others are cut."""

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
    """Log what asyncio cannot raise, but for a lack of files: it accepts again soon."""
    error = context.get("exception")
    if not (isinstance(error, OSError) and error.errno in EXHAUSTED):
        loop.default_exception_handler(context)


def loopback_listener() -> socket.socket:
    """A socket on a free port of this machine's loopback.

    Its protocol is named: asyncio sends small pieces at once only where it is, else
    each may wait 40 ms for the other side's acknowledgement.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", 0))
    listener.listen(128)
    return listener


def address(listener: socket.socket) -> str:
    """`http://127.0.0.1:PORT`."""
    host, port = listener.getsockname()
    return f"http://{host}:{port}"
