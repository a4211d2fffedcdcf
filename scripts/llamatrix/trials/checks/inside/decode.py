"""Decode the images of folders and print their size and colours, as JSON.

`decode.py FOLDER NAME…`: for each folder the images that decode, with their size and the
mean colour of eight bands from top to bottom. Run by `parse_sandboxed`.
"""

import contextlib
import json
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
_BANDS = 8
_LARGEST_PIXELS = 64_000_000
_MOST_FILES = 200


def main() -> None:
    root, *names = sys.argv[1:]
    warnings.simplefilter("error", Image.DecompressionBombWarning)
    Image.MAX_IMAGE_PIXELS = _LARGEST_PIXELS
    print(json.dumps({name: list(_images(Path(root, name))) for name in names}))  # noqa: T201


def _images(folder: Path) -> Iterator[dict[str, object]]:
    if not folder.is_dir():
        return
    paths = sorted(each for each in folder.rglob("*") if each.is_file())
    for path in paths[:_MOST_FILES]:
        with contextlib.suppress(
            OSError, ValueError, SyntaxError, Warning, Image.DecompressionBombError
        ):
            yield _described(path, path.relative_to(folder).as_posix())


def _described(path: Path, name: str) -> dict[str, object]:
    with Image.open(path, formats=_FORMATS) as image:
        width, height = image.size
        image.load()
        small = image.convert("RGB").resize((_BANDS, 4 * _BANDS), Image.Resampling.BOX)
    pixels, row = small.tobytes(), 3 * _BANDS
    bands = []
    for band in range(_BANDS):  # of four rows the middle two: edges blur
        rows = pixels[(4 * band + 1) * row : (4 * band + 3) * row]
        bands += [round(sum(rows[c::3]) / len(rows[c::3])) for c in range(3)]
    return {"name": name, "width": width, "height": height, "bands": bands}


if __name__ == "__main__":
    main()
