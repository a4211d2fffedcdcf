"""A set of wheels is fetched once, completely, and verified by its hashes."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.made_wheels import entry, made_wheel

from llamatrix.errors import ProvisionError
from llamatrix.provision.integrity import file_sha256
from llamatrix.provision.python import UnreachableError, provide_wheels

ELSEWHERE = " ; sys_platform == 'win32' and python_full_version >= '3.12'"


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip uses instead of the network."""
    folder = tmp_path / "shelf"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def written(folder: Path, *entries: str) -> Path:
    path = folder / "wheels.txt"
    path.write_text("".join(entries))
    return path


def names(folder: Path) -> set[str]:
    return {path.name.partition("-")[0] for path in folder.iterdir()}


def test_wheels_are_fetched_once_and_markers_ignored(
    shelf: Path, tmp_path: Path, unreachable: Callable[[], None]
) -> None:
    here = made_wheel(shelf, "here")
    there = made_wheel(shelf, "there", python=">=3.99")
    listed = written(tmp_path, entry(here), entry(there, marker=ELSEWHERE))
    folder = provide_wheels(listed, tmp_path / "cache")
    assert names(folder) == {"here", "there"}
    unreachable()
    assert provide_wheels(listed, tmp_path / "cache") == folder


def test_repacked_wheel_is_named_and_fetched_again_or_refused(
    shelf: Path,
    tmp_path: Path,
    unreachable: Callable[[], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    original = made_wheel(shelf, "here")
    listed = written(tmp_path, entry(original))
    folder = provide_wheels(listed, tmp_path / "cache")
    (kept,) = folder.iterdir()
    (tmp_path / "evil").mkdir()
    evil = made_wheel(tmp_path / "evil", "here", python=">=3.10")
    hashes = (file_sha256(evil), file_sha256(original))

    shutil.copyfile(evil, kept)
    provide_wheels(listed, tmp_path / "cache")
    assert file_sha256(kept) == file_sha256(original)
    said = capsys.readouterr().err
    assert all(sha256 in said for sha256 in hashes)

    shutil.copyfile(evil, kept)
    unreachable()
    with pytest.raises(UnreachableError) as caught:
        provide_wheels(listed, tmp_path / "cache")
    assert all(sha256 in str(caught.value) for sha256 in hashes)


def test_wheels_without_a_record_must_be_those_of_the_list(
    shelf: Path, tmp_path: Path, unreachable: Callable[[], None]
) -> None:
    listed = written(tmp_path, entry(made_wheel(shelf, "here")))
    folder = provide_wheels(listed, tmp_path / "cache")
    (record,) = folder.parent.glob(".*.files.json")
    unreachable()
    record.unlink()
    assert provide_wheels(listed, tmp_path / "cache") == folder
    record.unlink()
    made_wheel(folder, "here", python=">=3.10")
    with pytest.raises(UnreachableError, match=r"is not in wheels\.txt"):
        provide_wheels(listed, tmp_path / "cache")


def test_another_list_is_another_folder(shelf: Path, tmp_path: Path) -> None:
    first, second = made_wheel(shelf, "first"), made_wheel(shelf, "second")
    one = provide_wheels(written(tmp_path, entry(first)), tmp_path / "cache")
    both = written(tmp_path, entry(first), entry(second))
    other = provide_wheels(both, tmp_path / "cache")
    assert (names(one), names(other)) == ({"first"}, {"first", "second"})


def test_download_with_other_bytes_is_discarded(shelf: Path, tmp_path: Path) -> None:
    listed = written(tmp_path, entry(made_wheel(shelf, "here")))
    made_wheel(shelf, "here", python=">=3.10")
    with pytest.raises(ProvisionError, match="does not have the sha256"):
        provide_wheels(listed, tmp_path / "cache")
    assert not list((tmp_path / "cache").rglob("*.whl"))


def test_entry_without_a_hash_is_refused(shelf: Path, tmp_path: Path) -> None:
    made_wheel(shelf, "here")
    listed = written(tmp_path, "here==1.0\n")
    with pytest.raises(ProvisionError, match="has entries without hashes"):
        provide_wheels(listed, tmp_path / "cache")


def test_unavailable_wheel_is_named(
    shelf: Path, tmp_path: Path, unreachable: Callable[[], None]
) -> None:
    listed = written(tmp_path, entry(made_wheel(shelf, "here")))
    unreachable()
    with pytest.raises(UnreachableError, match=r"check the network[\s\S]*here==1\.0"):
        provide_wheels(listed, tmp_path / "cache")


def test_missing_list_names_the_command_that_writes_it(tmp_path: Path) -> None:
    with pytest.raises(ProvisionError, match="`invoke lock --python` writes it"):
        provide_wheels(tmp_path / "wheels.txt", tmp_path)
