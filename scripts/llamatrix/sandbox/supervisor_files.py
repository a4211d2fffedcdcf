"""The supervisor's files: a tar archive from and to the harness.

What is sent out is chosen and counted here, because the agent may have made all of it.
Files that do not fit are reported by name.
"""

import contextlib
import io
import itertools
import os
import socket
import stat
import struct
import tarfile
from pathlib import Path
from typing import IO

LENGTH = struct.Struct("!Q")
WHOLE = b"all of it\n"
"""The last bytes sent: without them the files were cut off."""
ARCHIVE_END_BYTES = 1 << 16
"""The archive's end and `WHOLE` take less, beside what is counted for each file."""
INSTALLED = (".venv", "node_modules")
"""What package managers put into the workspace: thousands of files, sent last."""
_CACHES = {"home/.cache", "home/.npm", "home/tmp"}
_BYTECODE = "__pycache__"
_COPY_BYTES = 1 << 16
_ENTRY_BYTES = 8 * 1024
"""A file's headers and padding, in the archive or on a disk, without its name."""
_MAX_NAMES = 100
_MAX_DEPTH = 60
"""Recursive programs fail at some hundreds of nested folders."""
_MAX_MTIME_S = 1 << 32
"""Not every unpacker accepts every year."""
MAX_NAME_BYTES = 1500
"""A path may have 4096 bytes, the folder it is copied to included."""


def read_exactly(line: socket.socket, count: int) -> bytes:
    parts = bytearray()
    while len(parts) < count:
        part = line.recv(min(count - len(parts), _COPY_BYTES))
        if not part:
            raise ConnectionResetError("the connection was cut")
        parts += part
    return bytes(parts)


class _Bounded(io.RawIOBase):
    """The next `count` bytes of a connection, as a file."""

    def __init__(self, line: socket.socket, count: int) -> None:
        self._line = line
        self._rest = count

    def read(self, count: int = -1, /) -> bytes:
        part = read_exactly(self._line, min(count, self._rest))
        self._rest -= len(part)
        return part


def take_in(line: socket.socket, root: Path, count: int) -> None:
    source = _Bounded(line, count)
    with tarfile.open(fileobj=source, mode="r|") as archive:
        archive.extraction_filter = _as_it_is  # 3.11.3 and older have no argument
        archive.extractall(root)  # noqa: S202  our own tar
    while source.read(_COPY_BYTES):  # the padding of the last block
        pass
    (root / "home" / "tmp").mkdir(parents=True, exist_ok=True)


def _as_it_is(entry: tarfile.TarInfo, _path: str) -> tarfile.TarInfo:
    return entry


def choose(
    root: Path,
    *,
    max_file_bytes: int,
    max_files: int,
    max_total_bytes: int,
    discarded: frozenset[str] = frozenset(),
) -> tuple[list[str], list[str]]:
    """Return the names to send out, parents first, and those that are left out.

    The workspace comes first, then the home, then what is installed. Home and workspace
    each fit into half of `max_total_bytes` with holes and hard links written out: that
    is the size of the disk in the next sandbox.
    """
    chosen: list[str] = []
    room_bytes = dict.fromkeys(("home", "work"), max_total_bytes // 2 * 15 // 16)
    left_out = _LeftOut()
    installed = [f"work/{name}" for name in INSTALLED]
    pending = [name for name in installed if os.path.lexists(root / name)]
    pending += ["home", "work"]
    while pending:
        name = pending.pop()
        path = root / name
        if name in _CACHES | discarded or path.name == _BYTECODE:
            continue
        if name.count("/") > _MAX_DEPTH or len(os.fsencode(name)) > MAX_NAME_BYTES:
            left_out.add(name)
            continue
        try:
            state = path.lstat()
            is_folder = stat.S_ISDIR(state.st_mode)
            if is_folder:
                with os.scandir(path) as entries:
                    some = itertools.islice(entries, max_files + 1)
                    within = [f"{name}/{entry.name}" for entry in some]
                pending += [path for path in within if path not in installed]
        except OSError:
            left_out.add(name)
            continue
        if len(chosen) == max_files:
            left_out.add("… and the rest: too many files")
            break
        size_bytes = 0 if is_folder else state.st_size
        if size_bytes > max_file_bytes or not _is_readable(path, state.st_mode):
            left_out.add(name)
            continue
        entry_bytes = size_bytes + _ENTRY_BYTES + 2 * len(os.fsencode(name))
        disk = name.partition("/")[0]
        if entry_bytes > room_bytes[disk]:
            left_out.add(name)
            continue
        room_bytes[disk] -= entry_bytes
        chosen.append(name)
    return chosen, left_out.names


class _LeftOut:
    """Names as text, up to a limit."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self._count = 0

    def add(self, name: str) -> None:
        self._count += 1
        if self._count <= _MAX_NAMES:
            self.names.append(os.fsencode(name).decode(errors="backslashreplace"))
        elif self._count == _MAX_NAMES + 1:
            self.names.append("… and more")


def _is_readable(path: Path, mode: int) -> bool:
    """Return whether it is a link, or a readable folder or file."""
    if stat.S_ISLNK(mode):  # whatever its target: nothing may follow it
        return True
    plain = stat.S_ISDIR(mode) or stat.S_ISREG(mode)
    return plain and os.access(path, os.R_OK)


def hand_out(sink: IO[bytes], root: Path, names: list[str]) -> None:
    """Write the archive, then the mark that it is whole."""
    with tarfile.open(fileobj=sink, mode="w|") as archive:
        for name in names:
            archive.inodes.clear()  # type: ignore[attr-defined]  # write hard links as files
            with contextlib.suppress(OSError):
                archive.add(root / name, name, recursive=False, filter=_unowned)
    sink.write(WHOLE)


def _unowned(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.mtime = min(max(0, int(entry.mtime)), _MAX_MTIME_S)
    entry.uname = entry.gname = ""
    return entry
