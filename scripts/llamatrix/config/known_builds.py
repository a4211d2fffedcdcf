"""Known commits of llama.cpp, and pins that a command line names without the matrix."""

import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import msgspec
from msgspec import Struct

from llamatrix.config.complaint import nearest
from llamatrix.config.context import free_name
from llamatrix.config.load import read_toml
from llamatrix.config.lock import LockedPin
from llamatrix.config.matrix import Commit, Matrix, Natural, Pin, PinKind
from llamatrix.errors import MatrixError
from llamatrix.project import find_project, user_path

PACKAGE = "llama-cpp-python"
_NUMBER = re.compile(r"b([1-9]\d*)")
_COMMIT = re.compile(r"[0-9a-f]{7,40}")


class KnownBuild(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A commit that is complete in a version of the package."""

    version: str
    commit: Commit
    committed: str
    build_number: Natural = 0
    """0 where no public source has it."""
    reported: bool = False
    """Whether the number is from public logs, not our own count."""


@cache
def known_builds() -> tuple[KnownBuild, ...]:
    """In order of time."""
    raw = read_toml(Path(__file__).with_suffix(".toml"))
    return msgspec.convert(raw["builds"], type=tuple[KnownBuild, ...])


def place_in_time(commit: str) -> int:
    """Return a number that rises with time; unknown commits come last."""
    commits = [build.commit for build in known_builds()]
    return commits.index(commit) if commit in commits else len(commits)


def known_build(commit: str) -> KnownBuild | None:
    return next((build for build in known_builds() if build.commit == commit), None)


def find_pin(
    word: str, matrix: Matrix, locked: Iterable[tuple[str, LockedPin]], *, flag: str
) -> tuple[str, Pin]:
    """Return the pin that a word names, and its key; MatrixError where none is meant.

    A word is a pin of the matrix, a build number (`b9553`), the start of a commit of
    matrix or table, a folder with a source tree, or one with prebuilt programs.
    """
    if word in matrix.pins:
        return word, matrix.pins[word]
    if "/" in word or word.startswith((".", "~")):
        return _local_pin(word, matrix, flag)
    number = _NUMBER.fullmatch(word)
    wanted = int(number[1]) if number else -1
    is_commit = bool(_COMMIT.fullmatch(word))
    commits = {name: pin.commit for name, pin in locked if not pin.unproven}
    for name, pin in matrix.pins.items():
        commit = commits.get(name, "")
        if pin.build_number == wanted or (is_commit and commit.startswith(word)):
            return name, pin
    builds = [
        build
        for build in known_builds()
        if build.build_number == wanted or (is_commit and build.commit.startswith(word))
    ]
    if len(builds) != 1:
        numbers = [
            f"b{known.build_number}" for known in known_builds() if known.build_number
        ]
        raise MatrixError(
            f"{flag} {word!r}: not a pin, a known build or commit, or a folder"
            f"{nearest(word, matrix.pins)}; known builds: {', '.join(numbers)}"
        )
    (build,) = builds
    for name, pin in matrix.pins.items():
        if pin.commit == build.commit:
            return name, pin
    key = word if number else build.commit[:12]
    return key, Pin(package=PACKAGE, version=build.version, commit=build.commit)


def _local_pin(word: str, matrix: Matrix, flag: str) -> tuple[str, Pin]:
    """Return the pin of a folder; its key is numbered where another pin has the name."""
    folder = user_path(word).resolve()
    if (folder / "CMakeLists.txt").is_file():
        kind, pin = "tree", Pin(path=str(folder))
    elif any((folder / below / "llama-bench").is_file() for below in (".", "bin")):
        kind, pin = "bin", Pin(binaries=str(folder))
    else:
        raise MatrixError(
            f"{flag} {word!r}: no folder with llama.cpp's source (CMakeLists.txt) or "
            "with its programs (llama-bench, llama-server)"
        )
    name = re.sub(r"[^a-z0-9]+", "-", folder.name.lower()).strip("-") or "local"
    key = f"{kind}-{name}"
    others = [
        other
        for other, known in matrix.pins.items()
        if other.startswith(key) and not _is_of(known, pin.kind, folder)
    ]
    key = free_name(key, "{}-{}", others)
    return key, matrix.pins.get(key, pin)


def _is_of(pin: Pin, kind: PinKind, folder: Path) -> bool:
    if pin.kind is not kind:
        return False
    named = user_path(getattr(pin, kind))
    return (find_project().root / named).resolve() == folder
