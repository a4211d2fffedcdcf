"""What is laid out of a trial's files, and what is not."""

from pathlib import Path

from llamatrix.measure.carried import pack, unpack_work


def test_installed_packages_are_left_in_the_tar(tmp_path: Path) -> None:
    work = tmp_path / "work"
    for name in ("main.py", ".venv/bin/python", "sub/.venv/kept"):
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        (work / name).write_text(name)
    (work / ".venv" / "link").symlink_to("bin")
    pack(tmp_path / "files.tar", home={}, work=work)
    unpack_work(tmp_path / "files.tar", tmp_path / "out", without=(".venv",))
    found = {
        path.relative_to(tmp_path / "out") for path in (tmp_path / "out").rglob("*")
    }
    assert found == {
        Path(name) for name in ("main.py", "sub", "sub/.venv", "sub/.venv/kept")
    }
