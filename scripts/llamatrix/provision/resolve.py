"""Writes `matrix.lock`: asks the package index what the matrix' pins are."""

import os
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

import msgspec
import tomli_w

from llamatrix.config.complaint import nearest
from llamatrix.config.context import Context
from llamatrix.config.known_builds import find_pin, known_build
from llamatrix.config.lock import (
    LOCK_VERSION,
    OF_KIND,
    Lock,
    LockedNpm,
    LockedNumber,
    LockedPin,
    NpmProgram,
    NumberSource,
    repeats,
)
from llamatrix.config.matrix import Matrix, NpmPin, Pin, PinKind
from llamatrix.errors import ProvisionError
from llamatrix.progress import say
from llamatrix.provision.git_source import Found, find_commit
from llamatrix.provision.integrity import file_sha256
from llamatrix.provision.local_pins import with_local_pins
from llamatrix.provision.npm import resolve_npm, resolve_one
from llamatrix.provision.python import (
    UnreachableError,
    fetch_sdist,
    sdist_file,
    versions_of,
)
from llamatrix.provision.source import fork_of, unpack_commit, unpack_source

_HEADER = (
    "# What matrix.toml resolved to. Written by `invoke lock`; every source is checked\n"
    "# against it before a compiler starts, and the flake reads its hashes from it.\n\n"
)


@dataclass(frozen=True, slots=True)
class Drift:
    """One entry in which the lock and the world may differ."""

    entry: str
    found: str
    """What the world has, or why it could not be checked."""
    checked: bool = True


def resolve(matrix: Matrix, cache: Path, old: Lock | None) -> Lock:
    """Return every pin of the matrix; what `old` has under the same names is kept.

    Cheap questions come first: a version that does not exist is reported before anything
    is downloaded. Downloads stay in the cache, whatever comes after them.
    """
    old = old or Lock(lock_version=LOCK_VERSION, pins={})
    matrix_pins = _lockable(matrix)
    opencode = resolve_npm(matrix, "opencode", old.opencode)
    pi = resolve_npm(matrix, "pi", old.pi)
    context7 = resolve_npm(matrix, "context7", old.context7)
    pins: dict[str, LockedPin] = {}
    for name, pin in matrix_pins.items():
        known = old.pins.get(name)
        if known and repeats(known, pin, OF_KIND[pin.kind]):
            pins[name] = known
            _say_moved(name, pin, known)
    asked = {name: pin for name, pin in matrix_pins.items() if name not in pins}
    kept = cache / "sdists"
    _require_versions(
        {
            name: pin
            for name, pin in asked.items()
            if pin.package and not sdist_file(pin.package, pin.version, kept).exists()
        }
    )
    wrong: list[str] = []
    numbers = dict(old.build_numbers)
    for name, pin in asked.items():
        try:
            pins[name], tagged = resolve_pin(name, pin, cache)
            numbers.pop(name, None)
            if tagged:
                numbers[name] = LockedNumber(number=tagged, source=NumberSource.TAG)
        except UnreachableError:
            raise
        except ProvisionError as error:
            wrong.append(str(error))
    if wrong:
        raise ProvisionError("\n".join(wrong))
    return Lock(
        lock_version=LOCK_VERSION,
        pins={name: pins[name] for name in matrix_pins},
        build_numbers={
            name: number
            for name, pin in matrix_pins.items()
            if (number := _number(pin, pins[name], numbers.get(name)))
        },
        opencode=opencode,
        pi=pi,
        context7=context7,
    )


def _lockable(matrix: Matrix) -> dict[str, Pin]:
    """Return the pins that a lock can hold; say which are passed over."""
    lockable = {}
    for name, pin in matrix.pins.items():
        if pin.kind in OF_KIND:
            lockable[name] = pin
        else:
            say(
                f"pins.{name}: by {pin.kind}: not locked, but hashed when it is "
                f"{'built' if pin.path else 'used'}"
            )
    return lockable


def _say_moved(name: str, pin: Pin, locked: LockedPin) -> None:
    """Say where a branch or tag has gone since it was locked; the lock stays."""
    if not pin.git:
        return
    try:
        found = find_commit(pin.git, pin.rev)
    except ProvisionError as error:
        say(f"pins.{name}: the locked {locked.commit[:12]} stays: {error}")
        return
    if found.commit != locked.commit:
        say(
            f"pins.{name}: {pin.rev} has moved to {found.commit[:12]}; the locked "
            f"{locked.commit[:12]} stays. To follow it, remove pins.{name} from "
            "matrix.lock and run `invoke lock`"
        )


def _number(
    pin: Pin, locked: LockedPin, before: LockedNumber | None
) -> LockedNumber | None:
    """The build number of a pin and who says so; None where nobody does."""
    if pin.build_number:
        return LockedNumber(number=pin.build_number, source=NumberSource.MATRIX)
    if before and before.source is NumberSource.TAG:
        return before
    known = known_build(locked.commit)
    if not known or not known.build_number:
        return None
    source = NumberSource.REPORTED if known.reported else NumberSource.KNOWN
    return LockedNumber(number=known.build_number, source=source)


def _require_versions(pins: Mapping[str, Pin]) -> None:
    """ProvisionError with a line for each pin whose version the index does not have."""
    known = {
        package: versions_of(package)
        for package in sorted({pin.package for pin in pins.values()})
    }
    wrong = [
        f"matrix.toml: pins.{name}.version: {pin.package} has no {pin.version!r}"
        f"{nearest(pin.version, known[pin.package])}"
        for name, pin in pins.items()
        if pin.version not in known[pin.package]
    ]
    if wrong:
        raise ProvisionError("\n".join(wrong))


def compare(matrix: Matrix, lock: Lock, cache: Path) -> Iterator[Drift]:
    """Yield where the lock differs from what the index has now, or cannot be checked."""
    yield from not_in_matrix("pins", lock.pins, matrix.pins)
    for name, pin in _lockable(matrix).items():
        entry, locked = f"pins.{name}", lock.pins.get(name)
        if locked is None:
            yield Drift(entry, "not locked")
            continue
        try:
            fresh, _ = resolve_pin(name, pin, cache, locked=locked)
        except ProvisionError as error:
            unreachable = isinstance(error, UnreachableError)
            if not unreachable and not pin.git:
                raise
            yield Drift(entry, str(error).splitlines()[0], checked=not unreachable)
            continue
        for key, value in msgspec.structs.asdict(locked).items():
            if (now := getattr(fresh, key)) != value:
                yield Drift(f"{entry}.{key}", f"{now} (locked: {value})")
    for program in get_args(NpmProgram):
        yield from _npm_drifts(matrix, lock, program)


def not_in_matrix(
    table: str, locked: Iterable[str], known: Collection[str]
) -> Iterator[Drift]:
    for name in sorted(set(locked) - set(known)):
        yield Drift(f"{table}.{name}", "not in matrix.toml")


def _npm_drifts(matrix: Matrix, lock: Lock, program: NpmProgram) -> Iterator[Drift]:
    asked: dict[str, NpmPin] = getattr(matrix, program)
    locked: dict[str, LockedNpm] = getattr(lock, program)
    yield from not_in_matrix(program, locked, asked)
    for name in asked:
        entry = f"{program}.{name}"
        if name not in locked:
            yield Drift(entry, "not locked")
            continue
        try:
            fresh = resolve_one(matrix, program, name)
        except UnreachableError as error:
            yield Drift(entry, str(error).splitlines()[0], checked=False)
            continue
        if fresh != locked[name]:
            yield Drift(entry, f"{fresh} (locked: {locked[name]})")


def write_lock(lock: Lock, path: Path) -> None:
    """Replace the lock file whole or not at all."""
    pins = {name: pin for name, pin in lock.pins.items() if not pin.unproven}
    lock = msgspec.structs.replace(lock, pins=pins)
    text = _HEADER + tomli_w.dumps(msgspec.to_builtins(lock))
    aside = path.with_name(f".{path.name}.new")
    try:
        aside.write_text(text)
        with aside.open("rb") as file:
            os.fsync(file.fileno())
        aside.replace(path)
    except OSError as error:
        raise ProvisionError(f"{path.name}: cannot be written: {error}") from error
    finally:
        aside.unlink(missing_ok=True)


def resolve_pin(
    name: str, pin: Pin, cache: Path, *, locked: LockedPin | None = None
) -> tuple[LockedPin, int]:
    """Fetch, prove and hash one pin; beside it the number that a tag gives, or 0.

    A package index never changes a file, so a copy in the cache is as good as a new
    download: git re-hashes what it carries either way. Of a repository the `locked`
    commit is fetched again, wherever its branch is now.
    """
    if pin.git:
        return _resolve_git(name, pin, cache, locked)
    say(f"resolving pin {name} ({pin.package} {pin.version})")
    sdist = fetch_sdist(pin.package, pin.version, sha256=None, folder=cache / "sdists")
    with tempfile.TemporaryDirectory(dir=cache, prefix=".lock-") as aside:
        try:
            nar_hash = unpack_source(sdist, Path(aside) / "tree", pin.commit)
        except ProvisionError as error:
            raise ProvisionError(f"matrix.toml: pins.{name}.commit: {error}") from error
    pinned = LockedPin(
        package=pin.package,
        version=pin.version,
        sdist_sha256=file_sha256(sdist),
        commit=pin.commit,
        nar_hash=nar_hash,
    )
    return pinned, 0


def _resolve_git(
    name: str, pin: Pin, cache: Path, locked: LockedPin | None
) -> tuple[LockedPin, int]:
    say(f"resolving pin {name} ({pin.git} {pin.rev})")
    if locked and repeats(locked, pin, OF_KIND[PinKind.GIT]):
        found = Found(commit=locked.commit)
    else:
        found = find_commit(pin.git, pin.rev)
        if pin.rev != found.commit:
            say(f"pins.{name}: {pin.rev} is {found.commit}; its code will be compiled")
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix=".lock-") as aside:
        tree = Path(aside) / "tree"
        pinned = LockedPin(
            git=pin.git,
            rev=pin.rev,
            commit=found.commit,
            nar_hash=unpack_commit(pin.git, found.commit, found.ref or pin.rev, tree),
            fork=fork_of(tree),
        )
        source = cache / "sources" / found.commit
        source.parent.mkdir(exist_ok=True)
        # `provide_source` proves it, and need not fetch it again
        with suppress(OSError):
            tree.rename(source)
    return pinned, found.build_number


def with_named_pin(context: Context, word: str, *, flag: str) -> tuple[Context, str]:
    """Return a context with the pin that a word of the command line names, and its key.

    What matrix.toml does not have is resolved here; it holds for this run alone.
    """
    key, pin = find_pin(word, context.matrix, context.lock.pins.items(), flag=flag)
    if key not in context.matrix.pins:
        pins = {**context.matrix.pins, key: pin}
        matrix = msgspec.structs.replace(context.matrix, pins=pins)
        context = replace(context, matrix=matrix)
    if pin.package:
        context = with_commit(context, key, pin)
    return with_local_pins(context, [key]), key


def with_commit(context: Context, key: str, pin: Pin) -> Context:
    """Return a context with a pin of one commit, resolved for this run if not locked."""
    if key in context.lock.pins:
        return context
    locked = _known_commit(key, pin, context.project.cache)
    pins = {**context.matrix.pins, key: pin}
    matrix = msgspec.structs.replace(context.matrix, pins=pins)
    entries = {**context.lock.pins, key: locked}
    lock = msgspec.structs.replace(context.lock, pins=entries)
    return replace(context, matrix=matrix, lock=lock)


def _known_commit(name: str, pin: Pin, cache: Path) -> LockedPin:
    """Resolve a commit once; it alone decides the content."""
    note = cache / "pins" / f"{pin.commit or pin.rev}.json"
    with suppress(OSError, msgspec.MsgspecError):
        known = msgspec.json.decode(note.read_bytes(), type=LockedPin)
        if repeats(known, pin, OF_KIND[pin.kind]):
            return known
    locked, _ = resolve_pin(name, pin, cache)
    note.parent.mkdir(parents=True, exist_ok=True)
    note.write_bytes(msgspec.json.encode(locked))
    return locked
