"""Cache entries: made once, recorded, and checked for changes on every use.

A cache entry is a folder that appears whole or not at all. Beside it is a record with
the sha256 of every file and its stamp: size, times and inode. A use compares the stamps,
which reads no content. Where a stamp differs, the file is read: equal content renews the
stamp, other content means that the entry is made again. The kernel sets the change time
(`st_ctime`), so an edit that puts the modification time back is noticed too. Damage that
changes no stamp, such as a failing disk, is found by `recheck_cache` alone.
"""

import hashlib
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec import Struct

from llamatrix.errors import ProvisionError
from llamatrix.exclusive import exclusive
from llamatrix.progress import meter, say
from llamatrix.units import bytes_text

_CHUNK_BYTES = 1 << 20
_SHOWN_BYTES = 256 << 20  # from this size on, hashing shows a progress bar
_RECORD = ".{}.files.json"
_HASHES = "hashes"
_StructT = TypeVar("_StructT", bound=Struct)


class Stamp(Struct, frozen=True, array_like=True):
    """Metadata that changes when a file does; known without reading it."""

    size_bytes: int
    mtime_ns: int
    ctime_ns: int
    inode: int


_NO_STAMP = Stamp(-1, 0, 0, 0)  # equals that of no file: the next use reads it


class _File(Struct, frozen=True, array_like=True):
    sha256: str
    """Of the content, or of where a symbolic link points."""
    executable: bool
    stamp: Stamp


class _Record(Struct, frozen=True):
    """`.NAME.files.json` beside the entry NAME."""

    origin: str
    """What the entry was verified against, such as a NAR hash; may be empty."""
    files: dict[str, _File]


class _Hashed(Struct, frozen=True):
    """A note in `hashes/`: the digest of a file anywhere on disk."""

    path: str
    stamp: Stamp
    sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class RecheckResult:
    """The result of reading everything."""

    files: int
    size_bytes: int
    damages: tuple[str, ...]
    """A line for each, with both hashes."""


def make_once(
    entry: Path,
    make: Callable[[Path], None],
    *,
    purpose: str,
    origin: str = "",
    prove: Callable[[], str | None] | None = None,
) -> Path:
    """Return `entry`, intact: `make` is called where it is missing or damaged.

    `make` gets an empty folder beside it; a rename is the last step, so a crash leaves
    nothing that looks finished. Two processes that want the same entry wait for each
    other. An entry without a record, or with another `origin`, is checked by `prove`,
    which returns what is wrong with it, or None; without `prove` it is made again.
    """
    if entry.exists() and find_damage(entry, origin=origin, prove=prove) is None:
        return entry
    with exclusive(entry.with_name(f".{entry.name}.lock"), purpose=purpose):
        wrong = None
        if entry.exists():
            wrong = find_damage(entry, origin=origin, prove=prove)
            if wrong is None:
                return entry
            say(f"{wrong}; it is not used, but made again")
        staging = entry.with_name(f".{entry.name}.staging")
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(parents=True)
        try:
            make(staging)
            record = _record(staging, origin)
            if wrong:
                shutil.rmtree(entry)
            _write(_record_path(entry), record)
            staging.rename(entry)
        except ProvisionError as error:
            if wrong is None:
                raise
            raise type(error)(f"{wrong}\nmaking it again failed: {error}") from error
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    return entry


def find_damage(
    entry: Path,
    *,
    origin: str | None = None,
    prove: Callable[[], str | None] | None = None,
) -> str | None:
    """Return what is wrong with an entry; None where it is unchanged.

    Reads the files whose stamp has changed, and no others. `origin` None accepts any.
    """
    record = _read(_record_path(entry), _Record)
    unproven = record is None or origin not in {None, record.origin}
    if unproven:
        wrong = prove() if prove else f"{entry}: has no record of its files"
        if wrong is None:
            record_entry(entry, origin=origin or "")
        return wrong
    return _compare(entry, record, full=False) if record else None


def record_entry(entry: Path, *, origin: str = "") -> None:
    """Record an entry's files as they are now."""
    _write(_record_path(entry), _record(entry, origin))


def known_sha256(path: Path, cache: Path) -> str:
    """Return a file's sha256, remembered for as long as its stamp stays the same."""
    path = path.resolve()
    name = hashlib.sha256(bytes(path)).hexdigest()[:16]
    note = cache / _HASHES / f"{name}.json"
    stamp = _stamp(path.stat())
    noted = _read(note, _Hashed)
    if noted and (noted.path, noted.stamp) == (str(path), stamp):
        return noted.sha256
    sha256 = shown_sha256(path)
    if _stamp(path.stat()) == stamp:  # else it was written to meanwhile
        _write(note, _Hashed(str(path), stamp, sha256))
    return sha256


def file_sha256(path: Path, *, on_bytes: Callable[[int], None] = lambda _: None) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
            on_bytes(len(chunk))
    return digest.hexdigest()


def shown_sha256(path: Path) -> str:
    """Return a file's sha256, with a progress bar while a large one is read."""
    total = path.stat().st_size
    if total < _SHOWN_BYTES:
        return file_sha256(path)
    with meter(f"sha256 of {path.name}", total=total, in_bytes=True) as progress:
        return file_sha256(path, on_bytes=progress.advance)


def ensure_free(
    folder: Path, *, need_bytes: int, purpose: str, setting: str = "LLAMATRIX_CACHE"
) -> None:
    """ProvisionError where the file system of `folder` cannot take `need_bytes`."""
    folder.mkdir(parents=True, exist_ok=True)
    free_bytes = shutil.disk_usage(folder).free
    if free_bytes < need_bytes:
        raise ProvisionError(
            f"{folder}: {purpose} needs {bytes_text(need_bytes)}, but only "
            f"{bytes_text(free_bytes)} are free; free some, or set {setting} to "
            "a folder on a larger disk"
        )


def recheck_cache(cache: Path) -> RecheckResult:
    """Read every recorded file of the cache, and every file with a remembered hash.

    A damaged entry is read again by its next use, whatever its stamp.
    """
    files = size_bytes = 0
    damages = []
    for record_path in sorted(cache.glob(f"*/{_RECORD.format('*')}")):
        entry = record_path.with_name(
            record_path.name.removeprefix(".").removesuffix(".files.json")
        )
        record = _read(record_path, _Record)
        if record is None or not entry.exists():
            continue
        wrong = _compare(entry, record, full=True)
        files += len(record.files)
        size_bytes += sum(status.st_size for _, status in _walk(entry))
        damages += [wrong] if wrong else []
    for note in sorted((cache / _HASHES).glob("*.json")):
        noted = _read(note, _Hashed)
        if noted is None or not Path(noted.path).is_file():
            continue
        files += 1
        size_bytes += noted.stamp.size_bytes
        sha256 = shown_sha256(Path(noted.path))
        if sha256 != noted.sha256:
            note.unlink()
            damages.append(_differs(Path(noted.path), sha256, noted.sha256))
    return RecheckResult(files=files, size_bytes=size_bytes, damages=tuple(damages))


def _compare(entry: Path, record: _Record, *, full: bool) -> str | None:
    """Return how an entry differs from its record; renew stamps of equal files."""
    wrong: list[str] = []
    present: set[str] = set()
    renewed: dict[str, _File] = {}
    for name, status in _walk(entry):
        recorded = record.files.get(name)
        if recorded is None:
            wrong.append(f"{entry / name}: is not part of the cache entry")
            continue
        present.add(name)
        stamp = _stamp(status)
        if not full and stamp == recorded.stamp:  # `st_ctime` has permissions in it
            continue
        sha256 = _sha256(entry / name, status)
        if sha256 != recorded.sha256:
            wrong.append(_differs(entry / name, sha256, recorded.sha256))
            stamp = _NO_STAMP
        elif _is_executable(status) != recorded.executable:
            wrong.append(f"{entry / name}: its executable bit was changed")
            stamp = _NO_STAMP
        if stamp != recorded.stamp:
            renewed[name] = msgspec.structs.replace(recorded, stamp=stamp)
    missing = record.files.keys() - present
    wrong += [f"{entry / name}: is missing" for name in missing]
    if renewed:
        with suppress(OSError):  # a cache that cannot be written to is still compared
            files = record.files | renewed
            _write(_record_path(entry), _Record(record.origin, files))
    more = f" (and {len(wrong) - 1} more files)" if len(wrong) > 1 else ""
    return f"{min(wrong)}{more}" if wrong else None


def _differs(path: Path, sha256: str, recorded: str) -> str:
    return f"{path}: sha256 is {sha256}, but {recorded} was recorded"


def _record(entry: Path, origin: str) -> _Record:
    return _Record(
        origin,
        {
            name: _File(
                _sha256(entry / name, status), _is_executable(status), _stamp(status)
            )
            for name, status in _walk(entry)
        },
    )


def _walk(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Every file and symbolic link below a folder, by its relative path."""
    root = str(folder)
    pending = [root]
    while pending:
        with os.scandir(pending.pop()) as inside:
            for each in inside:
                if each.is_dir(follow_symlinks=False):
                    pending.append(each.path)
                else:
                    name = each.path[len(root) + 1 :]
                    yield name, each.stat(follow_symlinks=False)


def _sha256(path: Path, status: os.stat_result) -> str:
    if stat.S_ISLNK(status.st_mode):
        return hashlib.sha256(os.fsencode(path.readlink())).hexdigest()
    return shown_sha256(path) if stat.S_ISREG(status.st_mode) else "no plain file"


def _stamp(status: os.stat_result) -> Stamp:
    return Stamp(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


def _is_executable(status: os.stat_result) -> bool:
    return bool(status.st_mode & stat.S_IXUSR)


def _record_path(entry: Path) -> Path:
    return entry.with_name(_RECORD.format(entry.name))


def _read(path: Path, kind: type[_StructT]) -> _StructT | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, msgspec.DecodeError):
        return None


def _write(path: Path, kept: Struct) -> None:
    """Replace the file atomically."""
    aside = path.with_name(f"{path.name}.{os.getpid()}")
    path.parent.mkdir(parents=True, exist_ok=True)
    aside.write_bytes(msgspec.json.encode(kept))
    aside.replace(path)
