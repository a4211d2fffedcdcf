"""Only calls of the agent in a sandbox are passed on, for root and ordinary users."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.sandbox.test_attacks import as_somebody
from tests.shipped import ROOT

from llamatrix.project import find_project
from llamatrix.provision.programs import bwrap_here
from llamatrix.sandbox.spec import probe


@pytest.fixture
def folder() -> Iterator[Path]:
    """One of its own: pytest closes its folders to other users whenever it starts."""
    with tempfile.TemporaryDirectory(prefix="llamatrix-caller-") as made:
        yield Path(made)


@pytest.mark.slow
@pytest.mark.parametrize("who", ["root", "user"])
def test_child_processes_of_the_agent_cannot_call_the_model(
    who: str, folder: Path
) -> None:
    bwrap = bwrap_here(find_project().cache)
    if bwrap is None or probe(bwrap):
        pytest.skip("no bubblewrap, or no namespaces, on this machine")
    if who == "root" and os.geteuid() != 0:
        pytest.skip("only root can be root")
    argv = [sys.executable, "-m", "tests.proxy.calling", str(bwrap)]
    argv.append(str(folder))
    if who == "user" and os.geteuid() == 0:
        argv = as_somebody(bwrap, folder, argv)
    ended = subprocess.run(
        argv,
        cwd=ROOT,
        env={
            **os.environ,
            "PYTHONPATH": f"{ROOT}:{ROOT / 'scripts'}",
            "PYTHONDONTWRITEBYTECODE": "1",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    found = json.loads(ended.stdout)
    assert (found["user"] == 0) == (who == "root")
    assert found["lines"] == [
        ["agent", "200"],
        ["child", "403"],
        ["agent", "200"],
    ], found["stderr"]
    assert found["counted"] == [2, 1, 14]
