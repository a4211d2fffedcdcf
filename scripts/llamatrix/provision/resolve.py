"""Writes `matrix.lock`: asks the package index what the matrix' pins are."""

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
import tomli_w

from llamatrix.config.complaint import nearest
from llamatrix.config.lock import LOCK_VERSION, Lock, LockedNpm, LockedPin, NpmProgram
from llamatrix.config.matrix import Matrix, NpmPin, Pin
from llamatrix.errors import ProvisionError
from llamatrix.progress import say
from llamatrix.provision.integrity import file_sha256
from llamatrix.provision.npm import resolve_npm, resolve_one
from llamatrix.provision.python import (
    UnreachableError,
    fetch_sdist,
    sdist_file,
    versions_of,
)
from llamatrix.provision.source import unpack_source

_PINNED = ("package", "version", "commit")
_HEADER = (
    "# What matrix.toml resolved to. Written by `invoke lock`; every source is checked\n"
    "# against it before a compiler starts, and the flake reads its hashes from it.\n\n"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Drift:
    """One entry in which the lock and the world may differ."""

    entry: str
    found: str
    """What the world has, or why it could not be checked."""
    checked: bool


def resolve(matrix: Matrix, cache: Path, old: Lock | None) -> Lock:
    """Return every pin of the matrix; what `old` has under the same names is kept.

    Cheap questions come first: a version that does not exist is reported before anything
    is downloaded. Downloads stay in the cache, whatever comes after them.
    """
    opencode = resolve_npm(matrix, "opencode", old.opencode if old else {})
    context7 = resolve_npm(matrix, "context7", old.context7 if old else {})
    pins: dict[str, LockedPin] = {}
    for name, pin in matrix.pins.items():
        known = old.pins.get(name) if old else None
        if known and all(getattr(known, key) == getattr(pin, key) for key in _PINNED):
            pins[name] = known
    asked = {name: pin for name, pin in matrix.pins.items() if name not in pins}
    kept = cache / "sdists"
    _require_versions(
        {
            name: pin
            for name, pin in asked.items()
            if not sdist_file(pin.package, pin.version, kept).exists()
        }
    )
    wrong: list[str] = []
    for name, pin in asked.items():
        try:
            pins[name] = _resolve_pin(name, pin, cache)
        except UnreachableError:
            raise
        except ProvisionError as error:
            wrong.append(str(error))
    if wrong:
        raise ProvisionError("\n".join(wrong))
    return Lock(
        lock_version=LOCK_VERSION,
        pins={name: pins[name] for name in matrix.pins},
        opencode=opencode,
        context7=context7,
    )


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


def compare(matrix: Matrix, lock: Lock, cache: Path) -> list[Drift]:
    """Where the lock differs from what the index has now, or cannot be checked."""
    found = [
        _drift(f"pins.{name}", "not in matrix.toml")
        for name in sorted(lock.pins.keys() - matrix.pins.keys())
    ]
    for name, pin in matrix.pins.items():
        locked = lock.pins.get(name)
        if locked is None:
            found.append(_drift(f"pins.{name}", "not locked"))
            continue
        try:
            fresh = _resolve_pin(name, pin, cache)
        except UnreachableError as error:
            reason = str(error).splitlines()[0]
            found.append(Drift(entry=f"pins.{name}", found=reason, checked=False))
            continue
        found += [
            _drift(f"pins.{name}.{key}", f"{getattr(fresh, key)} (locked: {value})")
            for key, value in msgspec.structs.asdict(locked).items()
            if getattr(fresh, key) != value
        ]
    found += _npm_drifts(matrix, lock, "opencode")
    return found + _npm_drifts(matrix, lock, "context7")


def _npm_drifts(matrix: Matrix, lock: Lock, program: NpmProgram) -> list[Drift]:
    """The same for a program that npm carries."""
    asked: dict[str, NpmPin] = getattr(matrix, program)
    locked: dict[str, LockedNpm] = getattr(lock, program)
    found = [
        _drift(f"{program}.{name}", "not in matrix.toml")
        for name in sorted(locked.keys() - asked.keys())
    ]
    for name in asked:
        entry = f"{program}.{name}"
        if name not in locked:
            found.append(_drift(entry, "not locked"))
            continue
        try:
            fresh = resolve_one(matrix, program, name)
        except UnreachableError as error:
            reason = str(error).splitlines()[0]
            found.append(Drift(entry=entry, found=reason, checked=False))
            continue
        if fresh != locked[name]:
            found.append(_drift(entry, f"{fresh} (locked: {locked[name]})"))
    return found


def write_lock(lock: Lock, path: Path) -> None:
    """Replace the lock file whole or not at all."""
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


def _resolve_pin(name: str, pin: Pin, cache: Path) -> LockedPin:
    """Download, prove and hash one pin.

    A package index never changes a file, so a copy in the cache is as good as a new
    download: git re-hashes what it carries either way.
    """
    say(f"resolving pin {name} ({pin.package} {pin.version})")
    sdist = fetch_sdist(pin.package, pin.version, sha256=None, folder=cache / "sdists")
    with tempfile.TemporaryDirectory(dir=cache, prefix=".lock-") as aside:
        source = unpack_source(sdist, Path(aside) / "tree")
    if source.commit != pin.commit:
        raise ProvisionError(
            f"matrix.toml: pins.{name}.commit: {pin.package} {pin.version} carries "
            f"{source.commit}, not {pin.commit}"
        )
    return LockedPin(
        package=pin.package,
        version=pin.version,
        sdist_sha256=file_sha256(sdist),
        commit=source.commit,
        nar_hash=source.nar_hash,
    )


def _drift(entry: str, found: str) -> Drift:
    return Drift(entry=entry, found=found, checked=True)
