"""Small valid PNG files, another one for every seed."""

import hashlib
import struct
import zlib
from collections.abc import Iterator

_SIDE = 256
_BAND = 32
_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def picture(seed: str) -> bytes:
    """A square of coloured bands: the colours are a digest of the seed."""
    rows = b"".join(
        b"\0" + row for row in _rows(hashlib.sha256(seed.encode()).digest())
    )
    header = struct.pack(">IIBBBBB", _SIDE, _SIDE, 8, 2, 0, 0, 0)
    return _SIGNATURE + b"".join(
        _chunk(name, body)
        for name, body in (
            (b"IHDR", header),
            (b"IDAT", zlib.compress(rows, 9)),
            (b"IEND", b""),
        )
    )


def _rows(digest: bytes) -> Iterator[bytes]:
    for y in range(_SIDE):
        start = (y // _BAND) * 3
        yield digest[start : start + 3] * _SIDE


def _chunk(name: bytes, body: bytes) -> bytes:
    return (
        struct.pack(">I", len(body))
        + name
        + body
        + struct.pack(">I", zlib.crc32(name + body))
    )
