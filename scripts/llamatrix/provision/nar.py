"""The NAR hash of a folder: what Nix' `fetchFromGitHub` pins, without Nix.

The format is the one in Eelco Dolstra's thesis "The Purely Functional Software
Deployment Model" (2006), figure 5.2: strings are length-prefixed (64-bit little
endian) and padded to eight bytes; entries are sorted by name; of the mode only the
owner's execute bit counts.
"""

import base64
import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

_CHUNK_BYTES = 1 << 20


def nar_hash(tree: Path, *, without: str = "") -> str:
    """The SRI form of the sha256 of a tree's NAR: `sha256-…=`.

    `without` names an entry at the top of the tree that is left out.
    """
    digest = hashlib.sha256(_string(b"nix-archive-1"))
    for part in _node(tree, without):
        digest.update(part)
    return "sha256-" + base64.b64encode(digest.digest()).decode()


def _node(path: Path, without: str = "") -> Iterator[bytes]:
    mode = path.lstat().st_mode
    yield _string(b"(") + _string(b"type")
    if stat.S_ISLNK(mode):
        target = os.fsencode(path.readlink())
        yield _string(b"symlink") + _string(b"target") + _string(target)
    elif stat.S_ISREG(mode):
        yield _string(b"regular")
        if mode & stat.S_IXUSR:
            yield _string(b"executable") + _string(b"")
        yield _string(b"contents")
        yield from _contents(path)
    else:
        yield _string(b"directory")
        for entry in sorted(path.iterdir(), key=os.fsencode):
            if entry.name == without:
                continue
            yield _string(b"entry") + _string(b"(")
            yield _string(b"name") + _string(os.fsencode(entry.name)) + _string(b"node")
            yield from _node(entry)
            yield _string(b")")
    yield _string(b")")


def _contents(path: Path) -> Iterator[bytes]:
    size = path.stat().st_size
    yield size.to_bytes(8, "little")
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk
    yield b"\0" * (-size % 8)


def _string(data: bytes) -> bytes:
    return len(data).to_bytes(8, "little") + data + b"\0" * (-len(data) % 8)
