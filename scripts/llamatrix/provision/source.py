"""Verify and unpack llama.cpp's source from a package or from a git repository.

A package holds a shallow clone of llama.cpp as the git folder of a submodule. Only
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
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from llamatrix import shell
from llamatrix.config.lock import Fork, LockedPin
from llamatrix.errors import ProvisionError
from llamatrix.progress import say
from llamatrix.provision.git_source import fetch_commit, submodules
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


def provide_source(locked: LockedPin, cache: Path, *, git: str = "") -> Path:
    """Return the unpacked, verified tree of a locked pin; in a Nix shell, Nix's.

    `git` is the repository of a pin by git. A tree without a record of its files was
    brought by hand, or unpacked by an older version: its NAR hash must be the locked
    one, as must every tree's when the lock changes.
    """
    if stored := stored_source(locked.commit):
        return stored
    entry = cache / "sources" / locked.commit

    def prove() -> str | None:
        found = nar_hash(entry, has=lambda path: path != entry / NOTE)
        if found == locked.nar_hash:
            return None
        return (
            f"{entry}: its NAR hash is {found}, but matrix.lock has {locked.nar_hash}"
        )

    def make(staging: Path) -> None:
        say(f"verifying the source of llama.cpp {locked.commit[:9]}")
        if git:
            origin: Path | str = git
            found = unpack_commit(git, locked.commit, locked.rev, staging)
        else:
            origin = fetch_sdist(
                locked.package,
                locked.version,
                sha256=locked.sdist_sha256,
                folder=cache / "sdists",
            )
            found = unpack_source(origin, staging, locked.commit)
        if found != locked.nar_hash:
            raise ProvisionError(
                f"{origin}: its NAR hash is {found}, but matrix.lock has "
                f"{locked.nar_hash}; nothing was built from it. If the lock is meant to "
                "change, run `invoke lock`"
            )

    return make_once(
        entry,
        make,
        purpose=f"unpacking {entry.name[:9]}",
        origin=locked.nar_hash,
        prove=prove,
    )


def unpack_source(sdist: Path, tree: Path, commit: str) -> str:
    """Unpack a commit of an sdist into `tree`, after git fsck; return its NAR hash."""
    git_dir = tree.with_name(f"{tree.name}.git")
    shutil.rmtree(git_dir, ignore_errors=True)
    try:
        _take_objects(sdist, git_dir)
        _git(git_dir, "fsck", "--full", "--no-dangling")
        listing = ("--batch-all-objects", "--batch-check=%(objecttype) %(objectname)")
        objects = _git(git_dir, "cat-file", *listing).splitlines()
        commits = [line.split()[1] for line in objects if line.startswith("commit ")]
        if commit not in commits:
            raise ProvisionError(
                f"{sdist.name} carries {' and '.join(commits)}, not {commit}"
            )
        return _unpack(git_dir, commit, tree)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise ProvisionError(f"{sdist}: cannot be unpacked: {error}") from error
    finally:
        shutil.rmtree(git_dir, ignore_errors=True)


def unpack_commit(git: str, commit: str, rev: str, tree: Path) -> str:
    """Fetch and unpack a commit into `tree`, after git fsck; return its NAR hash."""
    git_dir = tree.with_name(f"{tree.name}.git")
    shutil.rmtree(git_dir, ignore_errors=True)
    try:
        fetch_commit(git, commit, rev, git_dir)
        _git(git_dir, "fsck", "--full", "--no-dangling")
        if names := submodules(git_dir, commit):
            say(f"{git}: submodules are left empty: {', '.join(names)}")
        return _unpack(git_dir, commit, tree)
    finally:
        shutil.rmtree(git_dir, ignore_errors=True)


def fork_of(tree: Path, *, has: Callable[[Path], bool] = Path.is_dir) -> Fork:
    """Return whose build recipe a tree needs, by a folder that only the fork has."""
    return "ik_llama.cpp" if has(tree / "ggml/src/iqk") else ""


def _unpack(git_dir: Path, commit: str, tree: Path) -> str:
    """Write a commit's files into `tree`; the hash is over what git's objects say."""
    archive = tree.with_name(f"{tree.name}.tar")
    try:
        _git(git_dir, "archive", f"--output={archive}", commit)
        with tarfile.open(archive) as packed:
            packed.extractall(tree, filter="tar")
        return nar_hash(tree)
    finally:
        archive.unlink(missing_ok=True)


def _take_objects(sdist: Path, git_dir: Path) -> None:
    """Copy the objects into a new bare repository."""
    git_dir.mkdir(parents=True)
    _git(git_dir, "init", "--quiet", "--bare", ".")
    empty = True
    with tarfile.open(sdist) as packed:
        for member in packed:
            inside = PurePosixPath(*PurePosixPath(member.name).parts[1:])
            if not member.isfile() or not inside.is_relative_to(_MODULE):
                continue
            name = inside.relative_to(_MODULE)
            content = packed.extractfile(member)
            if content is None:
                continue
            if name.parts[0] == "objects" or str(name) == "shallow":
                empty = False
                target = git_dir / name
                target.parent.mkdir(parents=True, exist_ok=True)
                with target.open("wb") as file:
                    shutil.copyfileobj(content, file)
    if empty:
        raise ProvisionError(f"{sdist}: carries no git objects of llama.cpp")


def _git(git_dir: Path, *arguments: str) -> str:
    ended = shell.run(
        ["git", f"--git-dir={git_dir}", *arguments],
        timeout_s=_TIMEOUT_S,
        env={**os.environ, **_GIT_ENV},
        cwd=git_dir,
    )
    if not ended.ok:
        raise ProvisionError(f"the git objects are damaged\n{ended.complaint()}")
    return ended.out


_CHUNK_BYTES = 1 << 20


def nar_hash(tree: Path, *, has: Callable[[Path], bool] = lambda _: True) -> str:
    """The SRI form of the sha256 of a tree's NAR: `sha256-…=`.

    Files and folders of which `has` is false are left out.
    """
    digest = hashlib.sha256(_string(b"nix-archive-1"))
    for part in _node(tree, has):
        digest.update(part)
    return "sha256-" + base64.b64encode(digest.digest()).decode()


def _node(path: Path, has: Callable[[Path], bool]) -> Iterator[bytes]:
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
        for entry in sorted(filter(has, path.iterdir()), key=os.fsencode):
            yield _string(b"entry") + _string(b"(")
            yield _string(b"name") + _string(os.fsencode(entry.name)) + _string(b"node")
            yield from _node(entry, has)
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
