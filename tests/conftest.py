"""Fixtures for all packages: a project in a temporary folder, fakes, golden files."""

import os
import re
import shutil
import signal
import stat
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from tests.order import longest_first
from tests.shipped import FAKES, GOLDEN, NOWHERE, ROOT, shipped_cells

from llamatrix.config.cell import Cell
from llamatrix.measured_environment import SHARED
from llamatrix.measuring import LOCKS
from llamatrix.project import Project, find_project

collect_ignore = ["cases"]
"""Workspaces of agents: their own tests are test data."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden", action="store_true", help="rewrite golden files"
    )
    parser.addoption(
        "--update-captured", action="store_true", help="rewrite captured output"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Point the hub's client at a closed port, so that no test reaches the real hub.

    Shells start background jobs with Ctrl-C ignored, which programs inherit; setting a
    handler restores the default for them. Workers share a machine: each has measuring
    locks of its own.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if "PYTEST_XDIST_WORKER" in os.environ:
        os.environ[SHARED] = (
            "1"  # a waiting thread leaves its core to the other workers
        )
    os.environ[LOCKS] = locks = tempfile.mkdtemp(prefix="llamatrix-test-locks-")
    config.add_cleanup(partial(shutil.rmtree, locks, ignore_errors=True))
    os.environ["HF_ENDPOINT"] = "http://127.0.0.1:9"
    os.environ["HF_HOME"] = NOWHERE
    os.environ.pop("HF_TOKEN", None)


def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Start the slowest files first when workers share the tests."""
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
    """Return a project with the shipped matrix and lock, and an empty cache.

    It has no target spread: while other tests run, the number of processes of a cell
    would depend on the load. Its profile `smoke` has no real model.
    """
    root = tmp_path / "project"
    root.mkdir()
    for name in ("matrix.toml", "matrix.lock"):
        shutil.copy(ROOT / name, root / name)
    matrix = root / "matrix.toml"
    matrix.write_text(re.sub(r"(?m)^(target_spread|also) .*\n", "", matrix.read_text()))
    cache = tmp_path / "cache"
    monkeypatch.setenv("LLAMATRIX_ROOT", str(root))
    monkeypatch.setenv("LLAMATRIX_CACHE", str(cache))
    return Project(root=root, cache=cache)


@pytest.fixture(scope="session")
def user_cache() -> Path:
    """Return the user's cache, so that slow tests reuse its builds."""
    return find_project().cache


@pytest.fixture
def cells() -> tuple[Cell, ...]:
    """Return the cells of the shipped `smoke` profile."""
    return shipped_cells("smoke")


@pytest.fixture
def fake_program(tmp_path: Path) -> Callable[[str, str], Path]:
    """Install an executable with a program's name that runs one of the fakes."""

    def install(name: str, fake: str) -> Path:
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{FAKES / fake}" "$@"\n')
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return path

    return install


@pytest.fixture
def invoke_environment(project: Project) -> dict[str, str]:
    """Return the environment in which our commands work on `project`."""
    return {
        **os.environ,
        "LLAMATRIX_ROOT": str(project.root),
        "LLAMATRIX_CACHE": str(project.cache),
    }
