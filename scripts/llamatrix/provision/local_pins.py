"""Pins by path and by binaries: what a folder holds now, hashed and marked unproven.

A working tree is hashed where it lies, and copied into the cache to be compiled there:
what was hashed is what is compiled, whatever the user edits meanwhile. The copy stays at
one place, and a file that did not change keeps its times, so that Ninja compiles only
what an edit concerns. Whoever compiles in it has it alone.
"""

import base64
import filecmp
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from llamatrix import shell
from llamatrix.config.context import Context
from llamatrix.config.lock import Fork, LockedPin, Unproven
from llamatrix.config.matrix import Pin, PinKind
from llamatrix.errors import ProvisionError
from llamatrix.exclusive import exclusive
from llamatrix.progress import say
from llamatrix.project import find_project, user_path
from llamatrix.provision.git_source import address, git_in
from llamatrix.provision.integrity import known_sha256
from llamatrix.provision.source import fork_of, nar_hash

_PROGRAMS = ("llama-bench", "llama-server")
_OPTIONAL = ("llama-fit-params",)
_LIBRARY = re.compile(r"lib(ggml|llama|mtmd).*\.so")
_TIMEOUT_S = 300
_LIST = ("ls-files", "-z", "--cached", "--others", "--exclude-standard")


def with_local_pins(context: Context, pins: Iterable[str]) -> Context:
    """Hash the pins by path or binaries among these; their entries hold for this run."""
    locked = dict(context.lock.pins)
    for name in dict.fromkeys(pins):
        pin = context.matrix.pins[name]
        if pin.kind in {PinKind.PATH, PinKind.BINARIES}:
            locked[name] = _hashed(name, pin, context.project.cache)
    return context.with_lock(msgspec.structs.replace(context.lock, pins=locked))


@contextmanager
def provide_tree(locked: LockedPin, pin: Pin, cache: Path) -> Iterator[Path]:
    """Yield the copy of a working tree; nobody else changes it meanwhile.

    ProvisionError where the tree is another than the one that was hashed.
    """
    folder = _folder(pin.path)
    tree = _tree(bytes(folder), cache)
    with exclusive(tree.with_suffix(".lock"), purpose=f"compiling {folder}"):
        _bring_up_to_date(tree, folder, _source_files(folder))
        if nar_hash(tree) != locked.nar_hash:
            raise ProvisionError(
                f"{pin.path}: was edited after it was hashed; run the command again"
            )
        yield tree


def programs_of(binaries: str) -> dict[str, Path]:
    """Return the programs of a folder or of its `bin`, by name; ProvisionError where one is missing."""
    folder = _folder(binaries)
    places = (folder, folder / "bin")
    named = {
        name: next((place / name for place in places if (place / name).is_file()), None)
        for name in (*_PROGRAMS, *_OPTIONAL)
    }
    if missing := [name for name in _PROGRAMS if named[name] is None]:
        raise ProvisionError(
            f"{binaries}: has no {' and no '.join(missing)}; a pin by binaries names "
            "the folder in which both lie"
        )
    return {name: path for name, path in named.items() if path}


def _hashed(name: str, pin: Pin, cache: Path) -> LockedPin:
    if pin.kind is PinKind.BINARIES:
        programs = programs_of(pin.binaries)
        sums = {(key, known_sha256(path, cache)) for key, path in programs.items()}
        for key, sha256 in sorted(sums):
            say(f"pins.{name}: {key} has sha256 {sha256}; its source is unproven")
        libraries = {
            path for program in programs.values() for path in _libraries(program)
        }
        if libraries:
            say(f"pins.{name}: {len(libraries)} shared libraries are hashed as well")
        sums |= {(path.name, known_sha256(path, cache)) for path in libraries}
        digest = hashlib.sha256(msgspec.json.encode(sorted(sums))).digest()
        content = "sha256-" + base64.b64encode(digest).decode()
        fork = fork_of_program(programs["llama-bench"])
        return msgspec.structs.replace(_locked(content, Unproven.BINARIES), fork=fork)
    folder = _folder(pin.path)
    files = map(Path, _source_files(folder))
    source = {folder / path for file in files for path in (file, *file.parents)}
    content = nar_hash(folder, has=source.__contains__)
    fork = fork_of(folder, has=source.__contains__)
    say(f"pins.{name}: the tree has {content}; its source is unproven")
    return msgspec.structs.replace(_locked(content, Unproven.PATH), fork=fork)


def _libraries(program: Path) -> Iterator[Path]:
    """Yield llama.cpp's shared libraries beside a program and in `../lib*`."""
    folder = program.resolve().parent
    for place in (folder, *folder.parent.glob("lib*/")):
        for path in place.glob("lib*.so*"):
            if _LIBRARY.match(path.name) and path.is_file():
                yield path


def fork_of_program(llama_bench: Path) -> Fork:
    """Return whose command line a program has, by its own help."""
    ended = shell.run([str(llama_bench), "--help"], timeout_s=_TIMEOUT_S)
    if not ended.ok:
        raise ProvisionError(f"llama-bench does not start\n{ended.complaint()}")
    return "ik_llama.cpp" if "--fused-moe" in ended.out else ""


def _locked(content: str, unproven: Unproven) -> LockedPin:
    digits = base64.b64decode(content.removeprefix("sha256-")).hex()
    return LockedPin(commit=digits[:40], nar_hash=content, unproven=unproven)


def _folder(text: str) -> Path:
    folder = (find_project().root / user_path(text)).resolve()
    if not folder.is_dir():
        raise ProvisionError(f"{text}: no such folder ({folder})")
    return folder


@contextmanager
def shared_tree(source: Path, git: str, cache: Path) -> Iterator[Path]:
    """Yield the one tree in which all commits of a repository are compiled in turn.

    From one commit to the next only the files that differ get a new time, so Ninja
    compiles what they concern, and the compiler cache knows the paths.
    """
    tree = _tree(os.fsencode(address(git)), cache)
    paths = (path for path in source.rglob("*") if path.is_symlink() or path.is_file())
    names = {str(path.relative_to(source)) for path in paths}
    with exclusive(tree.with_suffix(".lock"), purpose=f"compiling {git}"):
        _bring_up_to_date(tree, source, names)
        yield tree


def _tree(identity: bytes, cache: Path) -> Path:
    return cache / "trees" / hashlib.sha256(identity).hexdigest()[:12]


def _bring_up_to_date(tree: Path, folder: Path, names: set[str]) -> None:
    tree.mkdir(parents=True, exist_ok=True)
    for root, _, files in os.walk(tree, topdown=False):
        for file in files:
            path = Path(root, file)
            if str(path.relative_to(tree)) not in names:
                path.unlink()
        if not any(Path(root).iterdir()):
            Path(root).rmdir()
    for name in names:
        _copy(folder / name, tree / name)


def _copy(source: Path, target: Path) -> None:
    """Copy a file that differs; its time is the copy's, so that Ninja notices it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_symlink():
        if not (target.is_symlink() and target.readlink() == source.readlink()):
            target.unlink(missing_ok=True)
            target.symlink_to(source.readlink())
        return
    if target.is_symlink() or not (
        target.is_file() and filecmp.cmp(source, target, shallow=False)
    ):
        target.unlink(missing_ok=True)
        shutil.copyfile(source, target)
    shutil.copymode(source, target)


def _source_files(folder: Path) -> set[str]:
    """List what git tracks or would add; outside of git, what .gitignore leaves."""
    inside = git_in(folder, "rev-parse", "--is-inside-work-tree")
    if inside.ok:
        ended = git_in(folder, *_LIST)
    else:
        with tempfile.TemporaryDirectory() as empty:
            git_in(folder, f"--git-dir={empty}", "init", "--quiet", "--bare")
            ended = git_in(folder, f"--git-dir={empty}", "--work-tree=.", *_LIST)
    if not ended.ok:
        raise ProvisionError(
            f"{folder}: its files cannot be listed: {ended.complaint()}"
        )
    names = {name for name in ended.out.removesuffix("\n").split("\0") if name}
    if submodules := sorted(
        name
        for name in names
        if (folder / name).is_dir() and not (folder / name).is_symlink()
    ):
        say(f"{folder}: submodules are left out: {', '.join(submodules)}")
    files = {
        name
        for name in names
        if (folder / name).is_symlink() or (folder / name).is_file()
    }
    if "CMakeLists.txt" not in files:
        raise ProvisionError(f"{folder}: has no CMakeLists.txt: no tree of llama.cpp")
    return files
