"""In a Nix shell agents run with what the shell has; nothing is fetched or built."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.shipped import ROOT

from llamatrix.agents.opencode.install import RIPGREP, program_path, provide_ripgrep
from llamatrix.commands.trial_parts import provide_tools
from llamatrix.config.agent_cell import AgentCell
from llamatrix.config.expand import expand_plan
from llamatrix.config.load import load_matrix
from llamatrix.config.lock import NPM_TREES, load_lock
from llamatrix.errors import ProvisionError
from llamatrix.project import Project
from llamatrix.provision.nix import VARIABLE
from llamatrix.provision.programs import bwrap_here

PROGRAMS = ("bwrap", "node", "rg", "uv")


@pytest.fixture
def cell() -> AgentCell:
    matrix = load_matrix(ROOT / "matrix.toml")
    return expand_plan(matrix, load_lock(ROOT / "matrix.lock"), "smoke").agents[0]


class Store:
    """Store paths laid out as nix/opencode.nix and nix/npm-tree.nix leave them."""

    def __init__(self, folder: Path, cell: AgentCell) -> None:
        self.folder = folder
        self.pin = cell.agent.version_key
        self.context7_pin = cell.agent.context7
        self.opencode(says=cell.program.version)
        self.context7(version=cell.context7.version)
        for name in PROGRAMS:
            self._program(folder / f"0-{name}" / "bin" / name, "true")

    def opencode(self, *, says: str) -> None:
        self._program(self.folder / "0-opencode/bin/opencode", f"echo {says}")

    def context7(self, *, version: str) -> None:
        modules = self.folder / "0-context7/lib/context7/node_modules"
        package = modules / NPM_TREES["context7"]
        package.mkdir(parents=True, exist_ok=True)
        (package / "package.json").write_text(json.dumps({"version": version}))

    def path(self, name: str) -> Path:
        return self.folder / f"0-{name}" / "bin" / name

    def enter(self, monkeypatch: pytest.MonkeyPatch) -> None:
        listed = {
            "opencode": {self.pin: str(self.folder / "0-opencode")},
            "context7": {self.context7_pin: str(self.folder / "0-context7")},
            "programs": {name: str(self.path(name)) for name in PROGRAMS},
        }
        file = self.folder / "store-paths.json"
        file.write_text(json.dumps(listed))
        monkeypatch.setenv(VARIABLE, str(file))

    def _program(self, path: Path, body: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)


@pytest.fixture
def store(
    tmp_path: Path, cell: AgentCell, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], Store]:
    """Enter a shell; changes to the store may follow."""

    def enter() -> Store:
        made = Store(tmp_path / "store", cell)
        made.enter(monkeypatch)
        return made

    return enter


def test_nix_shell_provides_every_program(
    cell: AgentCell, project: Project, store: Callable[[], Store]
) -> None:
    shell = store()
    tools = provide_tools(cell, project)
    assert tools.bwrap == shell.path("bwrap")
    assert tools.programs == {
        name: shell.path(name) for name in ("opencode", "rg", "node", "uv")
    }
    assert tools.context7 == shell.folder / "0-context7" / "lib" / "context7"
    assert not project.cache.exists(), "nothing is fetched or built"


def test_opencode_of_another_version_is_refused(
    cell: AgentCell, project: Project, store: Callable[[], Store]
) -> None:
    store().opencode(says="1.0.0")
    with pytest.raises(ProvisionError, match=r"'1\.0\.0'(?s:.*)enter it again"):
        provide_tools(cell, project)


@pytest.mark.parametrize("version", ["1.0.0", ""])
def test_context7_of_another_version_is_refused(
    cell: AgentCell, project: Project, store: Callable[[], Store], version: str
) -> None:
    store().context7(version=version)
    with pytest.raises(ProvisionError, match=r"but matrix.lock has .*enter it again"):
        provide_tools(cell, project)


def test_context7_without_its_package_is_refused(
    cell: AgentCell, project: Project, store: Callable[[], Store]
) -> None:
    for path in store().folder.glob("0-context7/**/package.json"):
        path.unlink()
    with pytest.raises(ProvisionError, match=r"holds no @upstash(?s:.*)enter it again"):
        provide_tools(cell, project)


@pytest.mark.parametrize("name", PROGRAMS)
def test_program_removed_by_garbage_collection_is_reported(
    cell: AgentCell, project: Project, store: Callable[[], Store], name: str
) -> None:
    store().path(name).unlink()
    with pytest.raises(ProvisionError, match=rf"{name}: is no longer in the store"):
        provide_tools(cell, project)


def test_ripgrep_outside_of_a_shell_is_the_pinned_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the system has: two machines search with the same one."""
    monkeypatch.delenv(VARIABLE, raising=False)
    system = tmp_path / "bin" / "rg"
    system.parent.mkdir()
    system.write_text("#!/bin/sh\n")
    system.chmod(0o755)
    monkeypatch.setenv("PATH", str(system.parent))
    pinned = program_path(RIPGREP, tmp_path / "cache")
    pinned.parent.mkdir(parents=True)
    pinned.touch()
    assert provide_ripgrep(tmp_path / "cache") == pinned


def test_looking_for_bubblewrap_fetches_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    cache = tmp_path / "cache"
    assert bwrap_here(cache) is None
    assert not cache.exists()
    unpacked = cache / "programs" / "bubblewrap" / "usr" / "bin" / "bwrap"
    unpacked.parent.mkdir(parents=True)
    unpacked.touch()
    assert bwrap_here(cache) == unpacked
