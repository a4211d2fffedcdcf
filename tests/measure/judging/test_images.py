"""Which bytes are an image: whole ones of three formats, nothing else."""

import base64
import shutil
import zlib
from pathlib import Path

import pytest

from llamatrix.measure.judging.images import distinct_images, is_image
from llamatrix.measure.standins.picture import picture

PNG = picture("one")
JPEG = base64.b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAgGBgcGBQgHBwcJCQgKDBQNDAsLDBkSEw8UHRofHh0aHBwg"
    "JC4nICIsIxwcKDcpLDAxNDQ0Hyc5PTgyPC4zNDL/wAALCAABAAEBAREA/8QAFAABAAAAAAAAAAAAAAAA"
    "AAAACP/EABQQAQAAAAAAAAAAAAAAAAAAAAD/2gAIAQEAAD8AVN//2Q=="
)
WEBP = base64.b64decode("UklGRiIAAABXRUJQVlA4IBYAAAAwAQCdASoBAAEADsD+JaQAA3AAAAAA")


@pytest.mark.parametrize("data", [PNG, JPEG, WEBP], ids=["png", "jpeg", "webp"])
def test_a_whole_image_is_one_and_a_cut_one_is_not(data: bytes) -> None:
    assert is_image(data)
    assert not is_image(data[:-8])
    assert not is_image(data[4:])


@pytest.mark.parametrize("place", [18, 60, len(PNG) - 6], ids=["size", "pixels", "end"])
def test_a_png_with_one_wrong_byte_is_not(place: int) -> None:
    assert not is_image(PNG[:place] + bytes([PNG[place] ^ 1]) + PNG[place + 1 :])


def test_a_png_without_pixels_is_not() -> None:
    start = PNG.index(b"IDAT") - 4
    end = PNG.index(b"IEND") - 4
    assert not is_image(PNG[:start] + PNG[end:])
    empty = b"\0\0\0\x08IDAT" + zlib.compress(b"")
    assert not is_image(PNG[:start] + empty + PNG[end:])


@pytest.mark.parametrize("data", [b"", b"<html>502</html>", b"\xff\xd8\xff\xd9"])
def test_anything_else_is_not(data: bytes) -> None:
    assert not is_image(data)


def test_copies_of_one_image_count_once_and_links_not_at_all(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "1.png").write_bytes(PNG)
    (folder / "2.png").write_bytes(PNG)
    (folder / "3.jpg").write_bytes(JPEG)
    (folder / "4.png").write_text("no image")
    (tmp_path / "outside.png").write_bytes(picture("two"))
    (folder / "5.png").symlink_to(tmp_path / "outside.png")
    assert distinct_images(folder) == ("1.png", "3.jpg")
    shutil.rmtree(folder)
    assert distinct_images(folder) == ()
