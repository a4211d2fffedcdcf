"""What a step may change in folders, and how that is undone.

Loaded by `steps.py`, beside judged code: standard library only.
"""

import base64
import contextlib
import io
import os
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path

_FILE_BYTES = 16 << 20
_FILES_BYTES = 48 << 20
_LARGEST_LINE = 48 << 10
_ENVIRONMENT = "project"
"""Of uv's folder in the home: see `enclosed.py`."""
Listing = dict[str, tuple[int, int]]


def listing(folder: str) -> Listing:
    """Sizes and change times of all files of the project's environment.

    Nobody can set a change time back, and bytecode is listed too: what a judged program
    compiled, or made look compiled, does not reach the next one.
    """
    return dict(_listed(Path(folder, _ENVIRONMENT))) if folder else {}


def undo_changes(folder: str, before: Listing) -> None:
    """Leave of what is installed only the environment, and only as it was.

    What one step leaves there another could read; uv installs again what is missing.
    """
    if not folder:
        return
    changed = listing(folder) != before
    empty(Path(folder), but=() if changed else (_ENVIRONMENT,))


def _listed(folder: Path) -> Iterator[tuple[str, tuple[int, int]]]:
    for here, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                place = os.path.join(here, name)  # noqa: PTH118  thousands of them
                status = os.lstat(place)
                yield place, (status.st_size, status.st_ctime_ns)


def link_bytecode(layer: str, installed: str) -> None:
    """Give the project's packages the compiled modules that the harness made of them.

    They lie in a read-only folder, `NAME-VERSION/…` for each package. Judged programs
    write no bytecode of their own, so without these each would compile every import.
    """
    packages = Path(installed, _ENVIRONMENT).glob(
        "lib/python*/site-packages/*.dist-info"
    )
    for metadata in packages if layer else ():
        compiled = Path(layer, metadata.stem)
        for here, folders, names in os.walk(compiled):
            place = metadata.parent / Path(here).relative_to(compiled)
            if here == str(compiled) and "__pycache__" in folders:
                (place / "__pycache__").mkdir(
                    exist_ok=True
                )  # several packages share it
            elif "__pycache__" in folders and place.is_dir():
                folders.remove("__pycache__")
                with contextlib.suppress(OSError):
                    (place / "__pycache__").symlink_to(Path(here, "__pycache__"))
            for name in names:
                with contextlib.suppress(OSError):
                    (place / name).symlink_to(Path(here, name))


def packed(folder: Path) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        archive.add(folder, ".")
    return packed.getvalue()


def restore(folder: Path, packed: bytes) -> None:
    empty(folder, but=(".venv",))
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extraction_filter = lambda entry, _: entry
        archive.extractall(folder)  # noqa: S202  our own, just packed


def empty(folder: Path, *, but: tuple[str, ...] = (".cache",)) -> None:
    """Remove what is in a folder; uv's cache and the project's environment stay."""
    with contextlib.suppress(OSError):
        for entry in os.scandir(folder):
            if entry.name not in but:
                remove(Path(entry.path))
    folder.mkdir(parents=True, exist_ok=True)


def remove(path: Path) -> None:
    """Remove a file or a folder, one that may not be written to included."""
    with contextlib.suppress(OSError):
        if not path.is_dir() or path.is_symlink():
            path.unlink()
            return
        for here, folders, _ in os.walk(path):
            for folder in (".", *folders):
                with contextlib.suppress(OSError):
                    inner = Path(here, folder)
                    if not inner.is_symlink():
                        inner.chmod(0o700)
        shutil.rmtree(path, ignore_errors=True)


def plain_files(name: str) -> Iterator[tuple[str, bytes]]:
    """Names and contents, as far as they are of a size that an image has."""
    folder = Path(name)
    if not name or folder.is_symlink() or not folder.is_dir():
        return
    left = _FILES_BYTES
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not path.is_file():
            continue
        size_bytes = path.stat().st_size
        if size_bytes <= min(_FILE_BYTES, left):
            left -= size_bytes
            yield path.relative_to(folder).as_posix(), path.read_bytes()


def parts(content: bytes) -> Iterator[str]:
    for at in range(0, max(len(content), 1), _LARGEST_LINE):
        yield base64.b64encode(content[at : at + _LARGEST_LINE]).decode()
