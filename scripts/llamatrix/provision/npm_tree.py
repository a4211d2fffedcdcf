"""A program of npm with its dependencies: installed from its package-lock."""

import hashlib
from pathlib import Path

import msgspec

from llamatrix.config.lock import NPM_TREES, LockedNpm, NpmProgram
from llamatrix.errors import ProvisionError
from llamatrix.progress import say
from llamatrix.provision.integrity import make_once
from llamatrix.provision.nix import stale, stored_tree
from llamatrix.provision.npm import (
    LockEntry,
    PackageLock,
    install_package_lock,
    package_lock_file,
)

_KEY_CHARACTERS = 12


def provide_pinned_tree(
    program: NpmProgram, pin: str, locked: LockedNpm, *, root: Path, cache: Path
) -> Path:
    """Return the folder that holds `node_modules`: a Nix shell's, else npm's."""
    if stored := stored_tree(program, pin):
        return proven_tree(stored, program, locked.version)
    return provide_tree(
        program, locked, package_lock=package_lock_file(root, program, pin), cache=cache
    )


def provide_tree(
    program: NpmProgram, locked: LockedNpm, *, package_lock: Path, cache: Path
) -> Path:
    """The folder that holds `node_modules`: checked against the lock, installed once.

    `locked` has the program's own integrity; those of the dependencies stand in the
    package-lock, and npm holds every tarball to its own.
    """
    package, version = NPM_TREES[program], locked.version
    integrity = locked.integrity[package]
    text = read_package_lock(package_lock)
    wish = _agreeing(text, package, version, integrity, package_lock.name)

    def make(staging: Path) -> None:
        say(f"installing {package} {version} with its dependencies (npm)")
        (staging / "package.json").write_bytes(wish)
        (staging / "package-lock.json").write_bytes(text)
        install_package_lock(f"{package}@{version}", package_lock.name, staging)
        if not (staging / "node_modules" / package / "package.json").is_file():
            raise ProvisionError(
                f"{package}@{version}: npm installed {package_lock.name}, but the "
                "package is not there; run `invoke lock`"
            )

    entry = tree_folder(program, version, text, cache)
    return make_once(entry, make, purpose=f"installing {package} {version}")


def tree_folder(
    program: NpmProgram, version: str, package_lock: bytes, cache: Path
) -> Path:
    """Where it is once it was provided."""
    key = hashlib.sha256(package_lock).hexdigest()[:_KEY_CHARACTERS]
    return cache / "programs" / f"{program}-{version}-{key}"


def proven_tree(stored: Path, program: NpmProgram, version: str) -> Path:
    """A Nix shell's folder, which must hold the version that is asked for."""
    package = NPM_TREES[program]
    manifest = stored / "node_modules" / package / "package.json"
    try:
        version_here = msgspec.json.decode(
            manifest.read_bytes(), type=LockEntry
        ).version
    except (OSError, msgspec.DecodeError) as error:
        raise stale(stored, f"holds no {package}: {error}") from error
    if version_here != version:
        raise stale(
            stored, f"holds {package} {version_here}, but matrix.lock has {version} now"
        )
    return stored


def read_package_lock(package_lock: Path) -> bytes:
    try:
        return package_lock.read_bytes()
    except OSError as error:
        raise ProvisionError(
            f"{package_lock}: cannot be read: {error.strerror}; `invoke lock` writes it"
        ) from error


def _agreeing(
    text: bytes, package: str, version: str, integrity: str, name: str
) -> bytes:
    """The package.json in a package-lock that says what matrix.lock says."""
    try:
        packages = msgspec.json.decode(text, type=PackageLock).packages
        entries = {
            path: msgspec.json.decode(raw, type=LockEntry)
            for path, raw in packages.items()
        }
        wish = bytes(packages[""])
        own = entries[f"node_modules/{package}"]
    except (msgspec.DecodeError, KeyError) as error:
        raise ProvisionError(
            f"{name}: is no package-lock of {package} ({error}); run `invoke lock`"
        ) from error
    if (own.version, own.integrity) != (version, integrity):
        raise ProvisionError(
            f"{name}: has {package} {own.version} ({own.integrity or 'no integrity'}), "
            f"but matrix.lock has {version} ({integrity}); run `invoke lock`"
        )
    for path, entry in entries.items():
        if path and (not entry.integrity or entry.resolved):
            why = "an address" if entry.resolved else "no integrity"
            raise ProvisionError(f"{name}: {path} has {why}; run `invoke lock`")
    return wish
