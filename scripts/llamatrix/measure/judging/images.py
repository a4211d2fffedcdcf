"""Whether a file is a whole image: structure and checksums, no decoder needed."""

import hashlib
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

from llamatrix.measure.judging.sources import files

_PNG = b"\x89PNG\r\n\x1a\n"
_LARGEST_BYTES = 64 << 20
_FRAME_MARKERS = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_BARE_MARKERS = {0x01, *range(0xD0, 0xD8)}
_SCAN, _END = 0xDA, b"\xff\xd9"


def distinct_images(folder: Path) -> tuple[str, ...]:
    """Names of the valid images in a folder; one name for the same bytes."""
    if not folder.is_dir() or folder.is_symlink():
        return ()
    first: dict[bytes, str] = {}
    for path in files(folder):
        if path.stat().st_size <= _LARGEST_BYTES:
            data = path.read_bytes()
            if is_image(data):
                first.setdefault(hashlib.sha256(data).digest(), path.name)
    return tuple(first.values())


def is_image(data: bytes) -> bool:
    return _is_png(data) or _is_jpeg(data) or _is_webp(data)


def _is_png(data: bytes) -> bool:
    """Signature, every checksum, an end, and pixels that inflate to the right size."""
    if not data.startswith(_PNG):
        return False
    names, pixels, header = [], zlib.decompressobj(), b""
    count = 0
    try:
        for name, body in _png_chunks(data):
            names.append(name)
            if name == b"IHDR":
                header = body
            elif name == b"IDAT":
                count += len(pixels.decompress(body))
        width, height = struct.unpack(">II", header[:8])
    except (ValueError, struct.error, zlib.error):
        return False
    whole = names[:1] == [b"IHDR"] and names[-1:] == [b"IEND"]
    return whole and pixels.eof and width > 0 and count > height > 0


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    place = len(_PNG)
    while place < len(data):
        (size,) = struct.unpack_from(">I", data, place)
        name, body = data[place + 4 : place + 8], data[place + 8 : place + 8 + size]
        (check,) = struct.unpack_from(">I", data, place + 8 + size)
        if len(body) != size or zlib.crc32(name + body) != check:
            raise ValueError(name)
        yield name, body
        place += 12 + size
        if name == b"IEND":
            return


def _is_jpeg(data: bytes) -> bool:
    """Start, a frame with a size, a scan, and the end marker."""
    if not data.startswith(b"\xff\xd8"):
        return False
    place, framed = 2, False
    while place + 4 <= len(data) and data[place] == 0xFF:  # noqa: PLR2004
        marker = data[place + 1]
        if marker in _BARE_MARKERS:
            place += 2
            continue
        (size,) = struct.unpack_from(">H", data, place + 2)
        if marker in _FRAME_MARKERS and place + 9 <= len(data):
            height, width = struct.unpack_from(">HH", data, place + 5)
            framed = height > 0 and width > 0
        if marker == _SCAN:
            return framed and _END in data[place + 2 + size :]
        place += 2 + size
    return False


def _is_webp(data: bytes) -> bool:
    """A RIFF container of the length it states, with a picture chunk in it."""
    if len(data) < 20 or data[:4] != b"RIFF" or data[8:12] != b"WEBP":  # noqa: PLR2004
        return False
    (size,) = struct.unpack_from("<I", data, 4)
    return size + 8 <= len(data) and data[12:16] in (b"VP8 ", b"VP8L", b"VP8X")
