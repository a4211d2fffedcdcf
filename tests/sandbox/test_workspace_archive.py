"""What is laid out of a trial's files, and what is not."""

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
