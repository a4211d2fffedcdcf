"""The images in a workspace: decoded in a sandbox, compared with those served."""

from collections.abc import Iterable, Mapping
from importlib.metadata import distribution
from pathlib import Path

from msgspec import Struct

from llamatrix.sandbox.sandboxed_parser import ParserLimits, parse_sandboxed
from llamatrix.scratch import scratch_folder
from llamatrix.trials.checks.execution_environment import ExecutionEnvironment
from llamatrix.trials.checks.sources import files

_DECODER = Path(__file__).with_name("inside") / "decode.py"
_LIMITS = ParserLimits(memory_bytes=768 << 20, seconds=30)
_LARGEST_BYTES = 32 << 20
_TOLERANCE = 24
"""Of 255, for a band's mean colour: a lossy format changes it by much less."""
SMALLEST_SIDE = 64
"""In pixels: an image model draws nothing smaller."""


class DecodedImage(Struct, frozen=True):
    name: str
    width: int
    height: int
    bands: tuple[int, ...]
    """Mean red, green and blue of eight bands from top to bottom."""

    def is_like(self, bands: Iterable[int]) -> bool:
        others = tuple(bands)
        return len(others) == len(self.bands) and all(
            abs(ours - theirs) <= _TOLERANCE
            for ours, theirs in zip(self.bands, others, strict=True)
        )


def decode_images(
    folders: Mapping[str, Mapping[str, bytes]], execution: ExecutionEnvironment
) -> dict[str, tuple[DecodedImage, ...]]:
    """Return the complete images of a sensible size in each group of files.

    ParserFailedError where they exceed the decoder's limits.
    """
    with scratch_folder("images") as aside:
        for name, contents in folders.items():
            folder = aside / name
            folder.mkdir()
            for number, (file, content) in enumerate(contents.items()):
                place = folder / f"{number:03}{Path(file).suffix[:8]}"
                place.write_bytes(content)
        answers = parse_sandboxed(
            _DECODER,
            aside,
            *folders,
            type_=dict[str, tuple[DecodedImage, ...]],
            bwrap=execution.sandbox.bwrap if execution.sandbox else None,
            limits=_LIMITS,
            libraries=_pillow(),
        )
    return {
        name: tuple(
            each for each in images if min(each.width, each.height) >= SMALLEST_SIDE
        )
        for name, images in answers.items()
    }


def distinct(images: Iterable[DecodedImage]) -> tuple[DecodedImage, ...]:
    """Return the images that do not look like an earlier one."""
    kept: list[DecodedImage] = []
    for image in images:
        if not any(image.is_like(each.bands) for each in kept):
            kept.append(image)
    return tuple(kept)


def read_folder(folder: Path) -> dict[str, bytes]:
    """Read the plain files of a folder that are not larger than an image may be."""
    if not folder.is_dir() or folder.is_symlink():
        return {}
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in files(folder)
        if path.stat().st_size <= _LARGEST_BYTES
    }


def _pillow() -> tuple[Path, ...]:
    """Return the folders of the harness's Pillow and of the libraries in its wheel."""
    packages = Path(str(distribution("pillow").locate_file("")))
    folders = (packages / name for name in ("PIL", "pillow.libs", "Pillow.libs"))
    return tuple(folder for folder in folders if folder.is_dir())
