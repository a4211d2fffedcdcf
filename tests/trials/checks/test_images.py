"""Images are decoded within limits, and known again however they were saved."""

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from llamatrix.trials.checks.execution_environment import ExecutionEnvironment
from llamatrix.trials.checks.images import (
    DecodedImage,
    decode_images,
    distinct,
    read_folder,
)
from llamatrix.trials.stubs.gemini_api import Picture

EXECUTION = ExecutionEnvironment(environment={})
ONE, TWO = Picture.of("one"), Picture.of("two")


def saved(picture: Picture, kind: str, size: tuple[int, int] | None = None) -> bytes:
    image: Image.Image = Image.open(io.BytesIO(picture.png()))
    if size:
        image = image.resize(size)
    written = io.BytesIO()
    image.save(written, kind)
    return written.getvalue()


def png(width: int, height: int, pixels: bytes) -> bytes:
    def chunk(name: bytes, body: bytes) -> bytes:
        check = zlib.crc32(name + body)
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", check)

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        (chunk(b"IHDR", header), chunk(b"IDAT", pixels), chunk(b"IEND", b""))
    )


def decoded(**files: bytes) -> tuple[DecodedImage, ...]:
    return decode_images({"left": files}, EXECUTION)["left"]


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF"])
@pytest.mark.parametrize("size", [None, (512, 512)])
def test_converted_image_is_recognised(kind: str, size: tuple[int, int] | None) -> None:
    (image,) = decoded(one=saved(ONE, kind, size))
    assert image.is_like(ONE.bands)
    assert not image.is_like(TWO.bands)


BROKEN: dict[str, Callable[[], bytes]] = {
    "cut": lambda: ONE.png()[:200],
    "cut-jpeg": lambda: saved(ONE, "JPEG")[:400],
    "page": lambda: b"<html>502 Bad Gateway</html>",
    "jpeg-marker": lambda: b"\xff\xd8\xff\xe0" + b"x" * 18,
    "webp-head": lambda: b"RIFF\x10\0\0\0WEBPVP8 " + b"x" * 8,
    "tiny": lambda: png(1, 1, zlib.compress(b"\0\1\2\3")),
    "no-pixels": lambda: png(256, 256, zlib.compress(b"")),
}


@pytest.mark.parametrize("name", BROKEN)
def test_incomplete_and_tiny_images_are_left_out(name: str) -> None:
    (image,) = decoded(broken=BROKEN[name](), one=ONE.png())
    assert image.is_like(ONE.bands)


def test_decompression_bomb_is_left_out() -> None:
    bomb = zlib.compressobj(9)
    parts = [bomb.compress(bytes(1 << 20)) for _ in range(256)]
    pixels = b"".join((*parts, bomb.flush()))
    found = decoded(
        vast=png(60_000, 60_000, pixels), small=png(64, 64, pixels), one=ONE.png()
    )
    assert any(image.is_like(ONE.bands) for image in found)
    assert all(image.width <= 256 for image in found)


def test_same_picture_in_two_formats_counts_once() -> None:
    found = decoded(a=ONE.png(), b=saved(ONE, "JPEG"), c=TWO.png())
    assert len(found) == 3
    assert len(distinct(found)) == 2


def test_links_are_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "1.png").write_bytes(ONE.png())
    folder = tmp_path / "images"
    folder.symlink_to(outside)
    assert read_folder(folder) == {}
    folder.unlink()
    folder.mkdir()
    (folder / "1.png").symlink_to(outside / "1.png")
    (folder / "2.png").write_bytes(TWO.png())
    assert list(read_folder(folder)) == ["2.png"]
