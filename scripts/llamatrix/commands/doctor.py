"""`invoke doctor`: what this machine can run, and the remedy for what it lacks."""

import shutil
import time
from collections.abc import Iterator

import msgspec

from llamatrix import shell
from llamatrix.commands.agent.examine import agent_findings
from llamatrix.commands.choice import choose_profile
from llamatrix.commands.finding import Finding, State, finding
from llamatrix.config.load import load_matrix
from llamatrix.config.matrix import Backend
from llamatrix.errors import BenchError, ProvisionError
from llamatrix.host import this_host
from llamatrix.nvml import driver_problem, gpus
from llamatrix.project import Project, find_project
from llamatrix.provision.compiler import compiler_id, cxx, find_tool, nvcc
from llamatrix.provision.hardware import missing_instructions
from llamatrix.provision.integrity import recheck_cache
from llamatrix.provision.nix import world
from llamatrix.provision.weights import hub
from llamatrix.units import bytes_text

_TIMEOUT_S = 5
_DISK_BYTES = 2 * 2**30
_MEMORY_BYTES = 4 * 2**30


class DamagedCacheError(BenchError):
    """Files of the cache are not what was put there: exit code 1."""


def examine(*, as_json: bool, verify: bool) -> None:
    """Print all findings; ProvisionError only where nothing at all can be run.

    `verify` reads the whole cache: DamagedCacheError where a file is damaged.
    """
    project = find_project()
    found = list(findings(project))
    damaged: tuple[str, ...] = ()
    if verify:
        damaged, told = _verified(project)
        found += told
    if as_json:
        print(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())
    else:
        for one in found:
            remedy = f": {one.remedy}" if one.remedy else ""
            print(f"{one.subject:<14} {one.state:<8} {one.found}{remedy}")
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


def _verified(project: Project) -> tuple[tuple[str, ...], list[Finding]]:
    """Every damage in the cache, and what is to be told of it."""
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
    return (), [finding("cache", text, "", ok=True)]


def _choice() -> str:
    try:
        choice = choose_profile(None)
    except ProvisionError as error:
        return f"`invoke all` here takes profile none by itself: {error}"
    return f"`invoke all` here takes profile {choice.profile}: {choice.reason}"


def findings(project: Project) -> Iterator[Finding]:
    yield finding("world", world(), "", ok=True)
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
    yield from _instructions(project)
    yield from _gpu()
    yield finding(
        "nvcc",
        compiler_id(Backend.CUDA).split(" + ")[-1] if nvcc() else "not found",
        "CUDA builds need it: install the CUDA toolkit, or enter `nix develop`",
        ok=nvcc() is not None,
    )
    yield _tool("nix", "only `nix develop` and `nix flake check` need it")
    yield from agent_findings(project)
    yield _hub()


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
    said = _said([str(program), "--version"])
    found = said.splitlines()[0] if said else str(program)
    return finding(name, found, remedy, ok=True)


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


def _instructions(project: Project) -> Iterator[Finding]:
    """Whether this processor runs the matrix' CPU builds."""
    try:
        builds = load_matrix(project.matrix_file).builds
    except BenchError as error:
        yield finding("instructions", str(error), "mend matrix.toml", ok=False)
        return
    for key, build in builds.items():
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
        found, _, named = driver_problem().partition("; ")
        for subject in ("GPU", "driver", "VRAM"):
            text = found or "no CUDA device answers"
            yield finding(subject, text, named or remedy, ok=False)
        return
    largest = max(cards, key=lambda card: card.memory_bytes)
    names = ", ".join(f"{card.name} ({card.compute_capability})" for card in cards)
    yield finding("GPU", names, remedy, ok=True)
    yield finding("driver", largest.driver, remedy, ok=True)
    enough = choose_profile(None).profile != "smoke"
    yield finding(
        "VRAM",
        bytes_text(largest.memory_bytes),
        "too little for `published`; `smoke` runs, or a smaller model in matrix.toml",
        ok=enough,
    )


def _hub() -> Finding:
    ok = hub.answers(timeout_s=_TIMEOUT_S)
    return finding(
        "hub",
        "answers" if ok else f"no answer within {_TIMEOUT_S} s",
        "published weights must come from a folder: --weights-dir; made-up ones need "
        "no hub",
        ok=ok,
    )


def _said(argv: list[str]) -> str:
    return shell.run(argv, timeout_s=_TIMEOUT_S).out.strip()
