"""Fixtures that every room uses: a project of one's own, real parts, golden files."""

import os
import re
import shutil
import signal
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.order import longest_first
from tests.shipped import FAKES, GOLDEN, NOWHERE, ROOT, shipped_cells

from llamatrix.config.cell import Cell
from llamatrix.measured_environment import SHARED
from llamatrix.project import Project, find_project

collect_ignore = ["cases"]
"""Workspaces of agents, with tests of their own: judged, not run."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden", action="store_true", help="rewrite golden files"
    )
    parser.addoption(
        "--update-captured", action="store_true", help="rewrite captured output"
    )


def pytest_configure() -> None:
    """Point the hub's client at a closed port: no test can reach the real hub.

    Where the tests run in the background, Ctrl-C is ignored, and programs inherit that:
    a handler of our own gives them the default again.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if "PYTEST_XDIST_WORKER" in os.environ:
        os.environ[SHARED] = (
            "1"  # a waiting thread leaves its core to the other workers
        )
    os.environ["HF_ENDPOINT"] = "http://127.0.0.1:9"
    os.environ["HF_HOME"] = NOWHERE
    os.environ.pop("HF_TOKEN", None)


def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Where workers share the tests, the longest come first."""
    if hasattr(config, "workerinput"):
        items[:] = longest_first(items)


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Compare a text with a golden file, or rewrite it with --update-golden."""

    def compare(name: str, text: str) -> None:
        path = GOLDEN / name
        if request.config.getoption("--update-golden"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        assert text == path.read_text()

    return compare


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """The shipped matrix and lock in a folder of its own, with an empty cache.

    Without a target spread: beside other tests no machine is quiet, and how many processes
    a cell gets would depend on the load.
    """
    root = tmp_path / "project"
    root.mkdir()
    for name in ("matrix.toml", "matrix.lock"):
        shutil.copy(ROOT / name, root / name)
    matrix = root / "matrix.toml"
    matrix.write_text(re.sub(r"(?m)^target_spread.*\n", "", matrix.read_text()))
    cache = tmp_path / "cache"
    monkeypatch.setenv("LLAMATRIX_ROOT", str(root))
    monkeypatch.setenv("LLAMATRIX_CACHE", str(cache))
    return Project(root=root, cache=cache)


@pytest.fixture(scope="session")
def user_cache() -> Path:
    """The cache of whoever runs the tests: what was built once is not built again."""
    return find_project().cache


@pytest.fixture
def cells() -> tuple[Cell, ...]:
    """The cells of the shipped `smoke` profile."""
    return shipped_cells("smoke")


@pytest.fixture
def fake_program(tmp_path: Path) -> Callable[[str, str], Path]:
    """An executable with a program's name that runs one of the fakes."""

    def install(name: str, fake: str) -> Path:
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{FAKES / fake}" "$@"\n')
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return path

    return install


@pytest.fixture
def invoke_environment(project: Project) -> dict[str, str]:
    """The environment in which a command of ours works on `project`."""
    return {
        **os.environ,
        "LLAMATRIX_ROOT": str(project.root),
        "LLAMATRIX_CACHE": str(project.cache),
    }
