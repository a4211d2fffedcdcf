"""A workspace as it may leave this machine: bounded, and without keys."""

import os
from pathlib import Path

from llamatrix.redaction import Redaction
from llamatrix.trials.llm_judge import workspace_text

NONE = Redaction()


def written(folder: Path, **texts: str) -> Path:
    for name, text in texts.items():
        (folder / name.replace("__", ".")).write_text(text)
    return folder


def test_code_comes_first_and_every_file_is_named(tmp_path: Path) -> None:
    workspace = written(tmp_path, README__md="words", main__py="x = 1\n", a__png="\x89")
    shown, cut = workspace_text(workspace, NONE)
    assert shown.startswith("Files:\nREADME.md\na.png\nmain.py")
    assert shown.index("--- main.py ---") < shown.index("--- README.md ---")
    assert "--- a.png ---" not in shown
    assert cut == ()


def test_keys_of_any_form_are_removed(tmp_path: Path) -> None:
    shaped, known = "AIza" + "b" * 35, "not-shaped-like-one"
    bound = "q8r7e6t5a4z3u2i1o0p9"
    workspace = written(
        tmp_path,
        main__py=f'KEY = "{shaped}"\napi_key = "{bound}"\nsay("{known}")\n',
        notes__md=f"the key is {known}",
    )
    text = workspace_text(workspace, Redaction(secrets=(known,)))[0]
    for secret in (shaped, known, bound):
        assert secret not in text
    assert 'api_key = "[redacted]"' in text


def test_hidden_files_are_named_at_most_and_links_not_followed(tmp_path: Path) -> None:
    (tmp_path / "outside.py").write_text("SECRET = 1")
    work = tmp_path / "work"
    (work / ".git").mkdir(parents=True)
    (work / ".env").write_text("K=1")
    (work / ".keys.txt").write_text("K=1")
    (work / ".git" / "a.py").write_text("git")
    (work / "link.py").symlink_to(tmp_path / "outside.py")
    assert workspace_text(work, NONE)[0] == "Files:\n.env\n.keys.txt"


def test_text_is_bounded_and_lists_what_is_cut(tmp_path: Path) -> None:
    workspace = written(
        tmp_path, **{f"m{number}__py": "x = 1\n" * 10_000 for number in range(9)}
    )
    for number in range(300):
        (tmp_path / f"picture-{number:03}.png").write_text("")
    for number in range(3000):
        (tmp_path / f"small-{number:04}.txt").write_text("x")
    shown, cut = workspace_text(workspace, NONE)
    assert len(shown) < 62_000
    assert "more files are left out]" in shown
    assert cut[:9] == tuple(f"m{number}.py" for number in range(9))
    assert len(cut) == 9 + 3000
    assert "characters are left out]" in shown
    assert "and 3109 more" in shown


def test_a_file_name_may_be_any_bytes(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9.py")).write_text("x = 1\n")
    shown, _ = workspace_text(tmp_path, NONE)
    assert "caf\ufffd.py" in shown
    shown.encode()
