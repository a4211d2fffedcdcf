"""Tasks, an execution environment where every package is there already, and workspaces made of texts."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from llamatrix.trials.checks.execution_environment import ExecutionEnvironment
from llamatrix.trials.checks.loopback_execution import loopback_execution
from llamatrix.trials.checks.task import Task, load_task


@pytest.fixture
def task() -> Task:
    return load_task("httpx-post")


@pytest.fixture
def execution(
    task: Task, tmp_path: Path, fake_program: Callable[[str, str], Path]
) -> Iterator[ExecutionEnvironment]:
    folder = tmp_path / "execution"
    folder.mkdir()
    uv = fake_program("uv", "uv.py")
    with loopback_execution(task, folder, cache=tmp_path / "cache", uv=uv) as ready:
        yield ready


@pytest.fixture
def written(tmp_path: Path) -> Callable[[Mapping[str, str]], Path]:
    """Write a workspace and give its folder."""

    def write(files: Mapping[str, str]) -> Path:
        folder = tmp_path / "written"
        for name, text in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return folder

    return write
