"""The sha256 of large files, computed once: 17 GB are not read again on every run."""

import hashlib
from pathlib import Path

import msgspec

from llamatrix.progress import meter
from llamatrix.provision.sdist import file_sha256


class _Stamp(msgspec.Struct, frozen=True, kw_only=True):
    """What changes when a file does, told without reading it."""

    path: str
    size_bytes: int
    mtime_ns: int


class _Remembered(msgspec.Struct, frozen=True, kw_only=True):
    stamp: _Stamp
    sha256: str


def known_sha256(path: Path, cache: Path) -> str:
    """The file's sha256, remembered for as long as its size and its time stay."""
    path = path.resolve()
    note = cache / "hashes" / f"{hashlib.sha256(bytes(path)).hexdigest()[:16]}.json"
    stamp = _stamp(path)
    remembered = _read(note)
    if remembered and remembered.stamp == stamp:
        return remembered.sha256
    sha256 = shown_sha256(path)
    if _stamp(path) == stamp:  # else it was written to meanwhile
        _write(note, _Remembered(stamp=stamp, sha256=sha256))
    return sha256


def shown_sha256(path: Path) -> str:
    """The file's sha256, with a bar while it is read."""
    total = path.stat().st_size
    with meter(f"sha256 of {path.name}", total=total, in_bytes=True) as progress:
        return file_sha256(path, on_bytes=progress.advance)


def _stamp(path: Path) -> _Stamp:
    status = path.stat()
    return _Stamp(
        path=str(path), size_bytes=status.st_size, mtime_ns=status.st_mtime_ns
    )


def _read(note: Path) -> _Remembered | None:
    try:
        return msgspec.json.decode(note.read_bytes(), type=_Remembered)
    except (OSError, msgspec.DecodeError):
        return None


def _write(note: Path, remembered: _Remembered) -> None:
    note.parent.mkdir(parents=True, exist_ok=True)
    aside = note.with_suffix(".new")
    aside.write_bytes(msgspec.json.encode(remembered))
    aside.replace(note)
