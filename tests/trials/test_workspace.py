"""What is kept of an agent's work: its files, without keys and without links."""

from pathlib import Path

from llamatrix.redaction import Redaction
from llamatrix.trials.workspace import save_workspace

KEY = "the-users-key-1"


def test_saved_workspace_has_secrets_in_no_content_or_name(tmp_path: Path) -> None:
    work = tmp_path / "work"
    (work / KEY).mkdir(parents=True)
    (work / KEY / "a.py").write_text(f'key = "{KEY}"\n')
    (work / "bytes").write_bytes(b"\xff\0" + KEY.encode())
    (work / "plain.py").write_text("print(1)\n")
    save_workspace(work, tmp_path / "kept", Redaction(secrets=(KEY,)))
    kept = tmp_path / "kept"
    assert (kept / "[redacted]" / "a.py").read_text() == 'key = "[redacted]"\n'
    assert (kept / "bytes").read_bytes() == b"\xff\0[redacted]"
    assert (kept / "plain.py").read_text() == "print(1)\n"
    assert (work / KEY / "a.py").read_text() == f'key = "{KEY}"\n'


def test_links_history_and_installed_packages_are_not_kept(
    tmp_path: Path,
) -> None:
    work = tmp_path / "work"
    for name in (".git", ".venv", "__pycache__", "deep/.git"):
        (work / name).mkdir(parents=True)
        (work / name / "x").write_text("x")
    (work / "env").mkdir()
    (work / "env" / "pyvenv.cfg").write_text("home = /usr/bin\n")
    (work / "link").symlink_to("/etc/passwd")
    (work / "folder").symlink_to(tmp_path)
    (work / "deep" / "y").write_text("y")
    save_workspace(work, tmp_path / "kept", Redaction())
    assert [path.name for path in (tmp_path / "kept").rglob("*")] == ["deep", "y"]


def test_names_that_collide_after_cleaning_are_skipped(tmp_path: Path) -> None:
    work = tmp_path / "work"
    shaped = ["sk-" + letter * 20 for letter in "abcd"]
    for name in shaped[:2]:
        (work / name).mkdir(parents=True)
        (work / name / "x").write_text(name[-1])
    for name in shaped[2:]:
        (work / name).write_text(name[-1])
        (work / "deep").mkdir(exist_ok=True)
        (work / "deep" / name).write_text(name[-1])
    (work / "z").write_text("z")
    save_workspace(work, tmp_path / "kept", Redaction())
    assert (tmp_path / "kept" / "z").read_text() == "z"


def test_name_that_is_too_long_after_cleaning_is_skipped(tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    (work / ("secret" * 40)).write_text("x")
    (work / "z").write_text("z")
    save_workspace(work, tmp_path / "kept", Redaction(secrets=("secret",)))
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["z"]


def test_very_large_file_is_left_out(tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    with (work / "large").open("wb") as large:
        large.truncate(65 << 20)
    (work / "small").write_text("x")
    save_workspace(work, tmp_path / "kept", Redaction())
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["small"]
