"""Controls: workspaces whose verdict is known, made from a task's own solution."""

import shutil
from pathlib import Path
from typing import NamedTuple

from llamatrix.errors import MeasureError
from llamatrix.trials.checks.task import Edit, Task, Wrong

TRAJECTORY = "trajectory.jsonl"


class Work(NamedTuple):
    """What an agent is taken to have left."""

    workspace: Path
    transcript: Path


def nothing_done(folder: Path) -> Work:
    """An empty workspace, and a transcript in which nothing happens."""
    work = _work(folder)
    work.workspace.mkdir()
    work.transcript.touch()
    return work


def untouched(task: Task, folder: Path) -> Work:
    """The seed as the agent found it, and nothing done with it."""
    work = _work(folder)
    shutil.copytree(task.seed, work.workspace)
    work.transcript.touch()
    return work


def oracle(task: Task, folder: Path) -> Work:
    """The solution, with its authored transcript."""
    work = _work(folder)
    shutil.copytree(task.folder / "solution" / "workspace", work.workspace)
    shutil.copy(task.folder / "solution" / TRAJECTORY, work.transcript)
    return work


def spoilt(task: Task, wrong: Wrong, folder: Path) -> Work:
    """The solution spoilt as `wrong` says; MeasureError where it no longer applies."""
    work = oracle(task, folder)
    for edit in wrong.edits:
        place = (
            work.transcript if edit.file == TRAJECTORY else work.workspace / edit.file
        )
        _edit(task, edit, place)
    for name, text in wrong.writes.items():
        (work.workspace / name).write_text(text)
    for name in wrong.removes:
        (work.workspace / name).unlink()
    return work


def _edit(task: Task, edit: Edit, place: Path) -> None:
    text = place.read_text() if place.is_file() else ""
    if edit.old not in text:
        raise MeasureError(f"{task.id}/task.toml: {edit.file} holds no {edit.old!r}")
    place.write_text(text.replace(edit.old, edit.new))


def _work(folder: Path) -> Work:
    return Work(folder / "workspace", folder / TRAJECTORY)
