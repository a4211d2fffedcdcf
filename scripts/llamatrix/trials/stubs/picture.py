"""Small valid PNG files, another one for every seed, that survive being re-encoded."""

import hashlib
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

SIDE = 256
BANDS = 8
_SIGNATURE = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True, slots=True)
class Picture:
    """A square of coloured bands from top to bottom."""

    bands: bytes
    """Red, green and blue of each band."""

    @classmethod
    def of(cls, seed: str) -> "Picture":
        """The colours are a digest of the seed."""
        return cls(hashlib.sha256(seed.encode()).digest()[: BANDS * 3])

    @property
    def fingerprint(self) -> str:
        """By which an image that was converted or scaled is known again."""
        return self.bands.hex()

    def png(self) -> bytes:
        rows = b"".join(b"\0" + row for row in self._rows())
        header = struct.pack(">IIBBBBB", SIDE, SIDE, 8, 2, 0, 0, 0)
        return _SIGNATURE + b"".join(
            _chunk(name, body)
            for name, body in (
                (b"IHDR", header),
                (b"IDAT", zlib.compress(rows, 9)),
                (b"IEND", b""),
            )
        )

    def _rows(self) -> Iterator[bytes]:
        for y in range(SIDE):
            start = y * BANDS // SIDE * 3
            yield self.bands[start : start + 3] * SIDE


def _chunk(name: bytes, body: bytes) -> bytes:
    return (
        struct.pack(">I", len(body))
        + name
        + body
        + struct.pack(">I", zlib.crc32(name + body))
    )
