"""A way to the stand-ins without a sandbox: a proxy that leads their names to them.

In a sandbox a hosts file does this. Without one, programs that honour `HTTPS_PROXY`
(httpx, the google-genai SDK, curl, uv) come here: a `CONNECT` to a name we stand in
for ends at our server, any other is passed on, so that uv finds its packages.
"""

import asyncio
import contextlib
import threading
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager

from llamatrix.measure.forwarding import pour

_HEAD_BYTES = 1 << 14
_CONNECT_S = 20.0


@contextmanager
def detour(names: Collection[str], *, port: int) -> Iterator[Mapping[str, str]]:
    """Lead `names` to 127.0.0.1:`port`; gives the environment that goes this way."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="detour", daemon=True)
    thread.start()
    proxy = _Proxy(names, port)
    try:
        starting = asyncio.run_coroutine_threadsafe(proxy.start(), loop)
        url = f"http://127.0.0.1:{starting.result(_CONNECT_S)}"
        yield {"HTTPS_PROXY": url, "https_proxy": url}
    finally:
        asyncio.run_coroutine_threadsafe(proxy.stop(), loop).result(_CONNECT_S)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


class _Proxy:
    def __init__(self, names: Collection[str], port: int) -> None:
        self._names = names
        self._port = port
        self._tunnels: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> int:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def stop(self) -> None:
        if self._server:
            self._server.close()
        for tunnel in self._tunnels:
            tunnel.cancel()
        await asyncio.gather(*self._tunnels, return_exceptions=True)

    def _accept(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        tunnel = asyncio.ensure_future(self._tunnel(reader, writer))
        self._tunnels.add(tunnel)
        tunnel.add_done_callback(self._tunnels.discard)

    async def _tunnel(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        with contextlib.closing(writer):
            try:
                head = await reader.readuntil(b"\r\n\r\n")
                method, target, _ = head.split(b" ", 2)
                host, _, port = target.decode("ascii").rpartition(":")
                if method != b"CONNECT" or not port.isdecimal():
                    writer.write(b"HTTP/1.1 405 Method Not Allowed\r\n\r\n")
                    return
                there = await self._reach(host, int(port))
            except (OSError, ValueError, EOFError, asyncio.LimitOverrunError):
                writer.write(b"HTTP/1.1 502 Bad Gateway\r\n\r\n")
                return
            with contextlib.closing(there[1]):
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                await asyncio.gather(pour(reader, there[1]), pour(there[0], writer))

    async def _reach(
        self, host: str, port: int
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if host in self._names:
            host, port = "127.0.0.1", self._port
        async with asyncio.timeout(_CONNECT_S):
            return await asyncio.open_connection(host, port, limit=_HEAD_BYTES)
