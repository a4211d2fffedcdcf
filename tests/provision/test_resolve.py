"""The lock has what the index has, and `--check` reports differences."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from tests.provision.conftest import PACKAGE, VERSION, Index
from tests.shipped import ROOT

from llamatrix.config.load import load_matrix
from llamatrix.config.lock import Lock, load_lock
from llamatrix.config.matrix import Matrix, Pin
from llamatrix.errors import ProvisionError
from llamatrix.provision.resolve import compare, resolve, write_lock


@pytest.fixture
def matrix(index: Index) -> Matrix:
    """The shipped matrix with one pin, which the index on disk has."""
    pin = Pin(package=PACKAGE, version=VERSION, commit=index.commit)
    shipped = load_matrix(ROOT / "matrix.toml")
    models = {key: model for key, model in shipped.models.items() if not model.package}
    return msgspec.structs.replace(
        shipped, pins={"only": pin}, opencode={}, pi={}, context7={}, models=models
    )


def test_lock_written_and_read_is_the_same(
    index: Index, matrix: Matrix, tmp_path: Path
) -> None:
    locked = index.publish()
    lock = resolve(matrix, tmp_path / "cache", None)
    assert lock.pins == {"only": locked}
    write_lock(lock, tmp_path / "matrix.lock")
    assert load_lock(tmp_path / "matrix.lock") == lock
    assert list(compare(matrix, lock, tmp_path / "cache")) == []


def test_edited_entry_is_a_difference(
    index: Index, matrix: Matrix, tmp_path: Path
) -> None:
    locked = msgspec.structs.replace(index.publish(), sdist_sha256="0" * 64)
    (drift,) = compare(matrix, Lock(lock_version=1, pins={"only": locked}), tmp_path)
    assert drift.checked
    assert drift.entry == "pins.only.sdist_sha256"


def test_missing_and_superfluous_entries_are_differences(
    index: Index, matrix: Matrix, tmp_path: Path
) -> None:
    lock = Lock(lock_version=1, pins={"other": index.publish()})
    found = {drift.entry: drift.found for drift in compare(matrix, lock, tmp_path)}
    assert found == {"pins.other": "not in matrix.toml", "pins.only": "not locked"}


def test_unreachable_index_leaves_entries_unchecked(
    index: Index, matrix: Matrix, tmp_path: Path, unreachable: Callable[[], None]
) -> None:
    lock = Lock(lock_version=1, pins={"only": index.publish()})
    unreachable()
    (drift,) = compare(matrix, lock, tmp_path / "cache")
    assert not drift.checked


def test_package_with_another_commit_than_the_matrix_is_not_locked(
    index: Index, matrix: Matrix, tmp_path: Path
) -> None:
    index.publish()
    pin = msgspec.structs.replace(matrix.pins["only"], commit="2" * 40)
    asked = msgspec.structs.replace(matrix, pins={"only": pin})
    with pytest.raises(ProvisionError, match=r"pins\.only\.commit: .* carries"):
        resolve(asked, tmp_path / "cache", None)


def test_locked_pin_is_not_resolved_again(
    index: Index, matrix: Matrix, tmp_path: Path, unreachable: Callable[[], None]
) -> None:
    old = Lock(lock_version=1, pins={"only": index.publish(), "gone": index.publish()})
    unreachable()
    lock = resolve(matrix, tmp_path / "cache", old)
    assert lock.pins == {"only": old.pins["only"]}
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("key", ["version", "commit"])
def test_typo_in_one_pin_repeats_no_download(
    index: Index, matrix: Matrix, tmp_path: Path, key: str
) -> None:
    """Known errors are reported before a download, and downloads are kept."""
    index.publish()
    typo = "0.0.11" if key == "version" else "2" * 40
    good = matrix.pins["only"]
    pins = {"only": good, "typo": msgspec.structs.replace(good, **{key: typo})}
    asked = msgspec.structs.replace(matrix, pins=pins)
    cache = tmp_path / "cache"
    with pytest.raises(ProvisionError) as caught:
        resolve(asked, cache, None)
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"matrix.toml: pins.typo.{key}: ")
    assert cache.exists() == (key == "commit")
    if key == "version":
        assert line.endswith("has no '0.0.11'; did you mean '0.0.1'?")
    else:
        index.sdist.unlink()
        assert resolve(matrix, cache, None).pins["only"].commit == index.commit


def test_package_that_the_index_does_not_have_is_named(
    index: Index, matrix: Matrix, tmp_path: Path
) -> None:
    index.publish()
    pin = msgspec.structs.replace(matrix.pins["only"], package="llama-cpp-pyhton")
    with pytest.raises(ProvisionError, match="llama-cpp-pyhton: the package index"):
        resolve(msgspec.structs.replace(matrix, pins={"only": pin}), tmp_path, None)


@pytest.mark.network
@pytest.mark.slow
def test_every_shipped_pin_is_proven_from_its_package(user_cache: Path) -> None:
    """Package hash, git objects, commit and NAR hash of all pins, no compiler."""
    matrix = load_matrix(ROOT / "matrix.toml")
    lock = load_lock(ROOT / "matrix.lock")
    assert list(compare(matrix, lock, user_cache)) == []
