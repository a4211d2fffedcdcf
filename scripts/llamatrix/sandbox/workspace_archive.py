"""The files of a trial between its turns: a tar archive with `home/` and `work/`."""

import contextlib
import errno
import io
import os
import shutil
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from llamatrix.sandbox.supervisor_files import INSTALLED, MAX_NAME_BYTES

_MODE_MASK = 0o755
_UNNAMEABLE = {
    *(errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL),
    *(errno.EEXIST, errno.EISDIR, errno.ENOTDIR),
}
"""Raised for names that are too long, not encodable, or another file's already."""


def pack(files: Path, *, home: Mapping[str, bytes], work: Path) -> None:
    """Write an archive of files of the home and a workspace."""
    with tarfile.open(files, "w") as archive:
        for name in ("home", "work"):
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(folder)
        _add_home(archive, home)
        for path in sorted(work.rglob("*")):
            archive.add(path, f"work/{path.relative_to(work)}", recursive=False)


def add_home(files: Path, home: Mapping[str, bytes]) -> None:
    """Append files of the home to the archive: they replace earlier ones."""
    with tarfile.open(files, "a") as archive:
        _add_home(archive, home)


def _add_home(archive: tarfile.TarFile, home: Mapping[str, bytes]) -> None:
    """Add each file; a name that ends in `/` is an empty folder."""
    for name, content in sorted(home.items()):
        entry = tarfile.TarInfo(f"home/{name}".rstrip("/"))
        entry.size, entry.mode = len(content), 0o644
        if name.endswith("/"):
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
        archive.addfile(entry, io.BytesIO(content))


def unpack_work(files: Path, folder: Path, *, installed: bool = True) -> None:
    """Unpack the workspace into a new folder; skip names that are invalid here.

    With `installed` false, reading stops at the first installed file: the supervisor
    sends these last.

    The agent may have made every byte: links are created last and only where they stay
    inside, so nothing is written or read through one.
    """
    folder.mkdir(parents=True)
    links: list[tuple[Path, str]] = []
    with tarfile.open(files) as archive:
        for entry in archive:
            name = PurePosixPath(_readable(entry.name))
            if name.parts[:1] != ("work",) or ".." in name.parts:
                continue
            if not installed and name.parts[1:] and name.parts[1] in INSTALLED:
                break
            if len(os.fsencode(name)) > MAX_NAME_BYTES:  # it was shorter inside
                continue
            place = folder.joinpath(*name.parts[1:])
            if entry.issym():
                links.append((place, entry.linkname))
                continue
            with skipping_invalid_names():
                _extract(archive, entry, place)
    for place, target in links:
        if not target.startswith("/") and ".." not in PurePosixPath(target).parts:
            with contextlib.suppress(OSError):
                place.symlink_to(target)


@contextlib.contextmanager
def skipping_invalid_names() -> Iterator[None]:
    """Skip the file that is written in the block if it cannot have its name here.

    Two names that differ inside may be the same when they are escaped or redacted.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _UNNAMEABLE:
            raise


def _readable(name: str) -> str:
    """Return the name with bytes that are not UTF-8 escaped."""
    return os.fsencode(name).decode(errors="backslashreplace")


def _extract(archive: tarfile.TarFile, entry: tarfile.TarInfo, place: Path) -> None:
    if entry.isdir():
        place.mkdir(parents=True, exist_ok=True)
    elif entry.isreg() and (source := archive.extractfile(entry)):
        place.parent.mkdir(parents=True, exist_ok=True)
        with place.open("wb") as sink:
            shutil.copyfileobj(source, sink)
        place.chmod(entry.mode & _MODE_MASK | 0o600)
