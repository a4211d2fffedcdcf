"""task.toml: what is refused, and in which words."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from llamatrix.errors import MeasureError
from llamatrix.trials.checks.task import (
    TASKS,
    load_task,
    read_prompt,
    read_task,
    task_digest,
    task_ids,
)

GOOD = """
title = "t"
packages = {}
[prompt]
source = "ours"
[limits]
check_s = 1
program_s = 1
[service]
host = "h"
method = "GET"
path = "/"
[checks.a]
kind = "requires"
needs = "workspace"
promise = "It is there."
[[wrong]]
fails = "a"
why = "it is not"
removes = ["it"]
"""

SECOND = """
[checks.b]
kind = "forbids"
needs = "trajectory"
promise = "It is not there."
"""


@pytest.fixture
def read(tmp_path: Path) -> Callable[[str], None]:
    def reads(text: str) -> None:
        path = tmp_path / "task.toml"
        path.write_text(text)
        read_task(path)

    return reads


def test_every_shipped_task_is_read_with_its_prompt() -> None:
    published = {"gemini-images", "httpx-post"}
    assert published <= set(task_ids())
    for name in task_ids():
        task = load_task(name)
        assert task.folder == TASKS / name
        assert read_prompt(task)
        assert name not in published or "use context7 to " in read_prompt(task)


def test_an_unknown_task_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(MeasureError, match="did you mean 'httpx-post'"):
        load_task("httpx-posts")


def test_valid_task_is_read(read: Callable[[str], None]) -> None:
    read(GOOD)


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("needs =", "need =", "checks.a.need: unknown key; did you mean 'needs'"),
        ('"requires"', '"require"', "did you mean 'requires'"),
        ("program_s = 1", "program_s = 0", "limits.program_s"),
        ('fails = "a"', 'fails = "b"', "wrong\\[0\\]: unknown check 'b'"),
        ('removes = ["it"]', "", "wrong\\[0\\]: changes nothing"),
        ("[[wrong]]", f"{SECOND}[[wrong]]", "checks.b: no wrong solution"),
    ],
)
def test_mistake_in_a_task_is_named(
    read: Callable[[str], None], old: str, new: str, complaint: str
) -> None:
    assert old in GOOD
    with pytest.raises(MeasureError, match=complaint):
        read(GOOD.replace(old, new))


def test_any_file_of_a_task_changes_its_digest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "tasks"
    shutil.copytree(TASKS, copy)
    shipped = task_digest("gemini-images")
    monkeypatch.setattr("llamatrix.trials.checks.task.TASKS", copy)
    assert task_digest("gemini-images") == shipped, "only the files count"
    folder = copy / "gemini-images"
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "check.pyc").touch()
    assert task_digest("gemini-images") == shipped
    seen = {shipped}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            with path.open("ab") as file:
                file.write(b"\n")
            seen.add(task_digest("gemini-images"))
            moved = path.rename(path.with_name(f"x{path.name}"))
            if path.name != "task.toml":
                seen.add(task_digest("gemini-images"))
            moved.rename(path)
    files = [p for p in (TASKS / "gemini-images").rglob("*") if p.is_file()]
    assert len(seen) == 2 * len([p for p in files if "__pycache__" not in p.parts])
