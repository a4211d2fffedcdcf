"""What is laid out of a trial's files, and what is not."""

import io
import tarfile
from pathlib import Path

import pytest

from llamatrix.sandbox.workspace_archive import unpack_work

HANDED_OUT = (
    *("home/.local/state", "work/main.py", "work/sub/.venv/kept"),
    *("work/.venv/bin/python", "work/.venv/lib/module.py"),
)
"""In the supervisor's order: what is installed comes last."""


@pytest.fixture
def files(tmp_path: Path) -> Path:
    content = tmp_path / "content"
    content.write_text("x")
    with tarfile.open(tmp_path / "files.tar", "w") as archive:
        for name in HANDED_OUT:
            archive.add(content, name)
    return tmp_path / "files.tar"


def laid_out(folder: Path) -> set[str]:
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_installed_packages_are_left_in_the_tar(files: Path, tmp_path: Path) -> None:
    unpack_work(files, tmp_path / "out", installed=False)
    assert laid_out(tmp_path / "out") == {"main.py", "sub/.venv/kept"}


def test_whole_workspace_is_unpacked_on_request(files: Path, tmp_path: Path) -> None:
    unpack_work(files, tmp_path / "out")
    assert laid_out(tmp_path / "out") == {
        name.removeprefix("work/") for name in HANDED_OUT[1:]
    }


@pytest.mark.parametrize("folder_first", [True, False])
def test_names_that_are_the_same_once_escaped_end_nothing(
    tmp_path: Path, *, folder_first: bool
) -> None:
    folder = {"work/\udcff/": "", "work/\udcff/inner": "x"}
    file = {r"work/\xff": "x"}
    both = {**folder, **file} if folder_first else {**file, **folder}
    unpack_work(archived(tmp_path, {**both, "work/z.py": "x"}), tmp_path / "out")
    assert (tmp_path / "out" / "z.py").is_file()
    assert (tmp_path / "out" / r"\xff").is_dir() is folder_first


def test_name_that_is_too_long_once_escaped_is_skipped(tmp_path: Path) -> None:
    deep = "/".join(["\udcff" * 62] * 16)
    names = {f"work/{deep}/": "", f"work/{deep}/a.py": "x", "work/z.py": "x"}
    unpack_work(archived(tmp_path, names), tmp_path / "out")
    assert laid_out(tmp_path / "out") == {"z.py"}


def archived(folder: Path, entries: dict[str, str]) -> Path:
    """Write an archive; a name that ends in `/` is a folder."""
    with tarfile.open(folder / "made.tar", "w") as archive:
        for name, content in entries.items():
            entry = tarfile.TarInfo(name.rstrip("/"))
            entry.type = tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE
            entry.size, entry.mode = len(content), 0o755
            archive.addfile(entry, io.BytesIO(content.encode()))
    return folder / "made.tar"
