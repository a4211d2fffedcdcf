"""A proxy through which programs outside a sandbox reach the stubs.

In a sandbox a hosts file does this. Outside, programs that honour `HTTPS_PROXY` (httpx,
the google-genai SDK, curl, uv) come here: a `CONNECT` to a stub's host leads to the
stub, any other is passed on, so that uv finds its packages.
"""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager

import anyio
from anyio.abc import SocketStream
from anyio.streams.buffered import BufferedByteStream

from llamatrix.proxy.serving import address, loopback_listener
from llamatrix.sandbox.forwarding import Handler, answering, join

_HEAD_BYTES = 1 << 14
_CONNECT_S = 20.0
_NO_HEAD = (ValueError, anyio.IncompleteRead, anyio.DelimiterNotFound)


@contextmanager
def connect_proxy(names: Collection[str], *, port: int) -> Iterator[Mapping[str, str]]:
    """Lead `names` to 127.0.0.1:`port`; yield the variables that select the proxy."""
    with loopback_listener() as listener, answering([(listener, _proxy(names, port))]):
        url = address(listener)
        yield {"HTTPS_PROXY": url, "https_proxy": url}


def _proxy(names: Collection[str], port: int) -> Handler:
    async def tunnel(caller: SocketStream) -> None:
        client = BufferedByteStream(caller)
        try:
            head = await client.receive_until(b"\r\n\r\n", _HEAD_BYTES)
            method, target, _ = head.split(b" ", 2)
            host, _, wanted = target.decode("ascii").rpartition(":")
            if method != b"CONNECT" or not wanted.isdecimal():
                await client.send(b"HTTP/1.1 405 Method Not Allowed\r\n\r\n")
                return
            place = ("127.0.0.1", port) if host in names else (host, int(wanted))
            with anyio.fail_after(_CONNECT_S):
                there = await anyio.connect_tcp(*place)
        except (OSError, *_NO_HEAD):
            await client.send(b"HTTP/1.1 502 Bad Gateway\r\n\r\n")
        else:
            async with there:
                await client.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
                await join(client, there)

    return tunnel
