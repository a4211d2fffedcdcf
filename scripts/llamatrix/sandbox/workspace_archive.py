"""The files of a trial between its turns: one tar with `home/` and `work/`."""

import contextlib
import errno
import io
import os
import shutil
import tarfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from llamatrix.sandbox.supervisor_files import INSTALLED

_MODE_MASK = 0o755
_UNNAMEABLE = {errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL}
"""A name that was possible inside, where the folder's own name is shorter, and here not."""


def pack(files: Path, *, home: Mapping[str, bytes], work: Path) -> None:
    """Write what a first turn starts from: files of the home, and a workspace."""
    with tarfile.open(files, "w") as archive:
        for name in ("home", "work"):
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(folder)
        _add_home(archive, home)
        for path in sorted(work.rglob("*")):
            archive.add(path, f"work/{path.relative_to(work)}", recursive=False)


def add_home(files: Path, home: Mapping[str, bytes]) -> None:
    """Put files of the home behind all that is in the tar: they replace what was there."""
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
    """Lay the workspace out in a new folder.

    Without what is installed in it, nothing behind its first name is read: the supervisor
    hands it out last. What this machine cannot name is passed over.

    The agent may have had a hand in every byte: links come last and only where they
    stay inside, so nothing is ever written or read through one.
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
            place = folder.joinpath(*name.parts[1:])
            if entry.issym():
                links.append((place, entry.linkname))
                continue
            try:
                _lay_out(archive, entry, place)
            except OSError as error:
                if error.errno not in _UNNAMEABLE:
                    raise
    for place, target in links:
        if not target.startswith("/") and ".." not in PurePosixPath(target).parts:
            with contextlib.suppress(OSError):
                place.symlink_to(target)


def _readable(name: str) -> str:
    """The name, bytes that are no UTF-8 spelled out: nothing after us chokes on it."""
    return os.fsencode(name).decode(errors="backslashreplace")


def _lay_out(archive: tarfile.TarFile, entry: tarfile.TarInfo, place: Path) -> None:
    if entry.isdir():
        place.mkdir(parents=True, exist_ok=True)
    elif entry.isreg() and (source := archive.extractfile(entry)):
        place.parent.mkdir(parents=True, exist_ok=True)
        with place.open("wb") as sink:
            shutil.copyfileobj(source, sink)
        place.chmod(entry.mode & _MODE_MASK | 0o600)


def read_home(files: Path, name: str) -> bytes | None:
    """One file of the home as it came out; None where there is none."""
    with tarfile.open(files) as archive:
        try:
            found = archive.extractfile(f"home/{name}")
        except KeyError:
            return None
        return found.read() if found else None
