"""`invoke lock --check` compares and never writes."""

import shutil
from pathlib import Path

import pytest
from tests.commands.conftest import RunInvoke
from tests.shipped import ROOT

from llamatrix.project import Project
from llamatrix.trials.stubs.wheel_index import LOCKED

pytestmark = [pytest.mark.slow, pytest.mark.network]


def test_check_of_the_python_lists_writes_nothing(
    project: Project, run_invoke: RunInvoke
) -> None:
    shutil.copy(ROOT / "pyproject.toml", project.root)
    listed = project.root / "requirements.txt"
    for name in (listed.name, "requirements-dev.txt"):
        shutil.copy(ROOT / name, project.root)
    before = _contents(listed)
    ended = run_invoke("lock", "--check", "--python")
    assert ended.returncode == 0, ended.stderr
    names = (listed.name, "requirements-dev.txt", LOCKED.name)
    assert ended.stdout == "".join(f"{name}: is the same\n" for name in names)
    assert _contents(listed) == before

    before_flip = listed.read_text()
    at = before_flip.index("sha256:") + len("sha256:")
    other = "1" if before_flip[at] == "0" else "0"
    listed.write_text(f"{before_flip[:at]}{other}{before_flip[at + 1 :]}")
    before = _contents(listed)
    ended = run_invoke("lock", "--check", "--python")
    assert ended.returncode == 1
    assert "requirements.txt: differs" in ended.stdout
    assert _contents(listed) == before


def _contents(listed: Path) -> tuple[bytes, bytes, int]:
    return listed.read_bytes(), LOCKED.read_bytes(), LOCKED.stat().st_mtime_ns
