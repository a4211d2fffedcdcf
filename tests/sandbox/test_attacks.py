"""Nobody gets out of the sandbox, takes the machine with him, or escapes the score."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.sandbox.attacking import MIB, box
from tests.sandbox.attacks import ATTACKS
from tests.shipped import ROOT

from llamatrix.project import find_project
from llamatrix.provision.programs import bwrap_here
from llamatrix.sandbox.spec import probe

pytestmark = [pytest.mark.slow, pytest.mark.network]
SOMEBODY = 54_321
"""An ordinary user to be, where the tests are run by root."""
_TIMEOUT_S = 300


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Not pytest's own: each pytest that starts closes that to everybody but its user."""
    made = Path(tempfile.mkdtemp(prefix="attacks-"))
    yield made
    shutil.rmtree(made)


@pytest.fixture(scope="module", params=["root", "user"])
def played(request: pytest.FixtureRequest, folder: Path) -> dict[str, Any]:
    """All attacks, played once as root and once as an ordinary user."""
    folder /= request.param
    folder.mkdir()
    return played_as(request.param, "tests.sandbox.attacking", folder)


def played_as(who: str, module: str, folder: Path) -> dict[str, Any]:
    """Return the JSON that `python -m MODULE BWRAP FOLDER` prints, as root or a user."""
    bwrap = bwrap_here(find_project().cache)
    if bwrap is None or probe(bwrap):
        pytest.skip("no bubblewrap, or no namespaces, on this machine")
    if who == "root" and os.geteuid() != 0:
        pytest.skip("only root can attack as root")
    argv = [sys.executable, "-m", module, str(bwrap), str(folder)]
    if who == "user" and os.geteuid() == 0:
        argv = as_somebody(bwrap, folder, argv)
    path = f"{ROOT}:{ROOT / 'scripts'}"
    ended = subprocess.run(
        argv,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=_TIMEOUT_S,
    )
    if ended.returncode:
        pytest.fail(ended.stderr[-3000:])
    found: dict[str, Any] = json.loads(ended.stdout)
    assert (found["user"] == 0) == (who == "root")
    return found


def as_somebody(bwrap: Path, folder: Path, argv: list[str]) -> list[str]:
    """The command as an ordinary user, who may also enter where only root can.

    What lies in root's home is shown in a first sandbox, under a home open to all.
    """
    if not (shutil.which("setpriv") and probe(bwrap) is None):
        pytest.skip("no setpriv: root cannot become an ordinary user")
    os.chown(folder, SOMEBODY, SOMEBODY)
    folder.parent.chmod(0o711)
    home = Path("/root")
    words = [
        str(bwrap),
        "--dev-bind",
        "/",
        "/",
        "--perms",
        "0755",
        "--tmpfs",
        str(home),
    ]
    shown = {Path(sys.base_prefix), bwrap.resolve().parent, *map(Path, sys.path)}
    for path in sorted(shown):
        if path.is_dir() and path.is_relative_to(home):
            for parent in [*path.parents][::-1]:
                if parent.is_relative_to(home) and parent != home:
                    words += ["--perms", "0755", "--dir", str(parent)]
            words += ["--ro-bind", str(path), str(path)]
    number = str(SOMEBODY)
    become = ["setpriv", "--reuid", number, "--regid", number, "--clear-groups", "--"]
    return [*words, "--", *become, *argv]


NAMES = [attack.name for attack in ATTACKS]


def test_there_are_attacks_of_every_kind() -> None:
    assert len(NAMES) == len(set(NAMES)) >= 80
    assert {attack.on for attack in ATTACKS} >= {
        *(
            "mounts",
            "read-only mounts",
            "devices",
            "supervisor",
            "namespaces",
            "kernel",
        ),
        *("host files", "sysctl", "cgroups", "terminal", "network", "keyring"),
        *("secrets", "user", "limits"),
    }


@pytest.mark.parametrize("name", NAMES)
def test_an_attack_is_refused(played: dict[str, Any], name: str) -> None:
    said = dict(json.loads(line) for line in played["session"]["lines"])
    assert said[name].startswith("refused"), said[name]


def test_session_ends_and_host_is_unchanged(
    played: dict[str, Any],
) -> None:
    session = played["session"]
    assert session["report"]["exit_code"] == 0, session["stderr"]
    assert session["report"]["left_running"] == []
    assert session["planted"] == "mine"
    assert played["left"] == []


@pytest.mark.parametrize("name", ["kill everything", "pkill -9 python"])
def test_killing_all_processes_ends_only_the_turn(
    played: dict[str, Any], name: str
) -> None:
    script = played["scripts"][name]
    assert script["report"]["exit_code"] == -9
    assert script["files"] == ["attack.py"]


def test_a_fork_bomb_is_ended(played: dict[str, Any]) -> None:
    report = played["scripts"]["fork bomb"]["report"]
    assert report["ran_away"]
    assert report["most_processes"] <= 4 * box().processes


def test_threads_are_bounded_for_root_too(played: dict[str, Any]) -> None:
    script = played["scripts"]["thread bomb"]
    assert (
        script["report"]["ran_away"] or int(script["lines"][-1]) < 4 * box().processes
    )


@pytest.mark.parametrize("bomb", ["memory bomb", "shared memory bomb"])
def test_memory_is_bounded_for_root_too(played: dict[str, Any], bomb: str) -> None:
    script = played["scripts"][bomb]
    assert "survived" not in script["lines"]
    assert "more than 300 MiB of memory: killed python3" in script["stderr"]


def test_after_every_attack_the_next_turn_begins(played: dict[str, Any]) -> None:
    """Whatever is left behind: its files are read, packed and unpacked again."""
    assert played["session"]["next"] == 0
    assert {script["next"] for script in played["scripts"].values()} == {0}


def test_a_flood_of_output_is_bounded(played: dict[str, Any]) -> None:
    script = played["scripts"]["stdout without a line end"]
    assert script["report"]["exit_code"] == 0
    assert script["bytes"] <= 8 * MIB


def test_daemon_with_odd_name_is_reported(played: dict[str, Any]) -> None:
    report = played["scripts"]["a daemon with a name"]["report"]
    assert report["exit_code"] == 0
    assert report["left_running"] == [r"d\xff\xfe"]


def test_a_strange_workspace_comes_out_bounded(played: dict[str, Any]) -> None:
    script = played["scripts"]["a strange workspace"]
    assert script["report"]["exit_code"] == 0, script["stderr"]
    left_out = script["report"]["left_out"]
    assert "work/fifo" in left_out
    assert len(left_out) <= 101
    names = script["files"]
    assert r"name-\xff\xfe.txt" in names
    assert not {"fifo", "images", "up"} & {*names}
    assert script["depth"] < 100
    assert script["longest"] < 1600
    assert len(names) <= box().files
