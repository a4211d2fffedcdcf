"""`invoke lock`: pins and weights of the matrix, resolved and written, or compared."""

import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

import msgspec

from llamatrix import shell
from llamatrix.commands.flags import LockFlags
from llamatrix.config.load import load_matrix
from llamatrix.config.lock import (
    NPM_TREES,
    Lock,
    LockedTemplate,
    load_lock,
    locked_pin,
    template_names,
)
from llamatrix.config.matrix import Matrix, NpmPin
from llamatrix.errors import BenchError, MatrixError, ProvisionError
from llamatrix.progress import say
from llamatrix.project import Project, find_project
from llamatrix.provision.compiler import find_tool
from llamatrix.provision.npm import package_lock_file, write_package_lock
from llamatrix.provision.resolve import compare, resolve, write_lock
from llamatrix.provision.resolve_weights import compare_weights, resolve_weights
from llamatrix.provision.source import provide_source
from llamatrix.provision.templates import (
    compare_templates,
    find_correction,
    resolve_templates,
)
from llamatrix.provision.weights.package import compare_packages, resolve_packages
from llamatrix.trials.stubs.wheel_index import LOCKED, WISHED

_TIMEOUT_S = 600
_HASH = re.compile(r" *\\\n +--hash=\S+")
_ENTRY = re.compile(r"^\S.*\n(?: .*\n)*", re.MULTILINE)
"""A package with its hashes."""


class LockDriftError(BenchError):
    """The lock and the world differ: exit code 1."""


def lock(flags: LockFlags) -> None:
    """Write matrix.lock, or the lists of Python packages; `--check` writes nothing."""
    match flags.check, flags.python:
        case False, False:
            _write()
        case True, False:
            _check()
        case False, True:
            _write_requirements()
        case _:
            _check_requirements()


def _write() -> None:
    project = find_project()
    matrix = load_matrix(project.matrix_file)
    corrections = project.root / "templates"
    files = template_names(matrix).values()
    for file in files:
        find_correction(file, corrections)
    try:
        old = load_lock(project.lock_file)
    except BenchError:
        old = None
    lock = resolve(matrix, project.cache, old)
    weights = resolve_weights(matrix, old)
    templates: dict[str, LockedTemplate] = {}
    if files:
        source = locked_pin(matrix, lock, matrix.synthetic.template_pin)
        tree = provide_source(source, project.cache)
        templates = resolve_templates(matrix, corrections, tree)
    lock = msgspec.structs.replace(
        lock,
        weights=weights,
        packages=resolve_packages(matrix, old, project.cache),
        templates=templates,
    )
    write_lock(lock, project.lock_file)
    resolved = sum(locked.hub_file is not None for locked in weights.values())
    say(
        f"{project.lock_file.name}: {len(lock.pins)} pins written, {resolved} of "
        f"{len(weights)} weights resolved, {len(lock.templates)} templates"
    )
    for program in NPM_TREES:
        pins: dict[str, NpmPin] = getattr(matrix, program)
        for name, pin in pins.items():
            path = package_lock_file(project.root, program, name)
            if write_package_lock(program, pin.version, path):
                say(f"{path.relative_to(project.root)}: written")


def _check() -> None:
    """Say of every entry whether it is the same, differs, or could not be checked."""
    project = find_project()
    matrix = load_matrix(project.matrix_file)
    lock = load_lock(project.lock_file)
    drifts = [
        *compare(matrix, lock, project.cache),
        *compare_weights(matrix, lock),
        *compare_packages(matrix, lock, project.cache),
        *compare_templates(
            matrix, lock, project.root / "templates", _tree(matrix, lock, project)
        ),
    ]
    for drift in drifts:
        word = "differs" if drift.checked else "not checked"
        print(f"{drift.entry}: {word}: {drift.found}")
    changed = [drift for drift in drifts if drift.checked]
    if changed:
        raise LockDriftError(
            f"matrix.lock: {len(changed)} differences; `invoke lock` resolves what "
            "matrix.toml changed, and entries that you remove from the lock"
        )
    unchecked = len(drifts)
    entries = (
        *(*lock.pins, *lock.opencode, *lock.pi, *lock.context7),
        *(*lock.weights, *lock.packages, *lock.templates),
    )
    same = len(entries) - unchecked
    print(f"matrix.lock: {same} entries are the same, {unchecked} not checked")


def _tree(matrix: Matrix, lock: Lock, project: Project) -> Path | str:
    """Where the vendors' templates lie, or why they cannot be had."""
    try:
        pin = locked_pin(matrix, lock, matrix.synthetic.template_pin)
        return provide_source(pin, project.cache)
    except (MatrixError, ProvisionError) as error:
        return str(error).splitlines()[0]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Listed:
    """A list of packages: what it follows from, and what it is written to."""

    source: Path
    target: Path
    flags: tuple[str, ...] = ()
    """More flags of uv."""
    beside: Path | None = None
    """The list that it adds to: both have one version of a package."""


def _write_requirements() -> None:
    """Resolve what we install, and what a sandbox can, exact and with hashes."""
    for listed in _requirements():
        text = _compiled(listed, "--upgrade")
        listed.target.write_text(text)
        say(f"{listed.target.name}: written")


def _check_requirements() -> None:
    """Say of each list whether it still follows from its source; write nothing.

    The versions in it are kept where they still fit: a newer release is no difference.
    """
    differing = []
    for listed in _requirements():
        name, target = listed.target.name, listed.target
        text = target.read_text() if target.exists() else ""
        same = _compiled(listed) == text
        print(f"{name}: {'is the same' if same else 'differs'}")
        differing += [] if same else [name]
    if differing:
        raise LockDriftError(
            f"{', '.join(differing)}: not what its source resolves to; "
            "`invoke lock --python` writes it"
        )


def _requirements() -> tuple[_Listed, ...]:
    """What runs, what tests and documentation need beside it, what a sandbox can."""
    root = find_project().root
    ours = root / "pyproject.toml"
    runs = _Listed(source=ours, target=root / "requirements.txt")
    dev = _Listed(
        source=ours,
        target=root / "requirements-dev.txt",
        flags=("--extra", "dev", "--extra", "docs"),
        beside=runs.target,
    )
    return runs, dev, _Listed(source=WISHED, target=LOCKED)


def _compiled(listed: _Listed, *more: str) -> str:
    """Return what a list would hold; uv works on a copy, and starts from its versions."""
    uv = find_tool("uv")
    if uv is None:
        raise ProvisionError("uv not found; `pip install uv` brings it")
    target, beside = listed.target, listed.beside
    known = beside.read_text() if beside and beside.exists() else ""
    with tempfile.TemporaryDirectory(prefix="llamatrix-lock-") as folder:
        aside = Path(folder) / target.name
        text = target.read_text() if target.exists() else ""
        text = known + text.removeprefix(_including(listed))
        if text:  # uv would keep the hashes that it finds there
            aside.write_text(_HASH.sub("", text))
        flags = [
            *("--universal", "--generate-hashes", "--no-annotate"),
            *("--no-header", "--quiet", "--python-version", "3.11"),
            *("--output-file", str(aside)),
        ]
        if known:
            constraint = Path(folder) / "constraint.txt"
            constraint.write_text(_HASH.sub("", known))
            flags += ["--constraint", str(constraint)]
        argv = [str(uv), "pip", "compile", str(listed.source)]
        ended = shell.run([*argv, *listed.flags, *more, *flags], timeout_s=_TIMEOUT_S)
        if not ended.ok:
            raise ProvisionError(f"{target.name}: not resolved\n{ended.complaint()}")
        text = aside.read_text()
    if "://" in text:
        raise ProvisionError(
            f"{target.name}: uv wrote the address of a package index into it; not kept"
        )
    there = set(_ENTRY.findall(known))
    rest = "".join(entry for entry in _ENTRY.findall(text) if entry not in there)
    return _including(listed) + rest if beside else text


def _including(listed: _Listed) -> str:
    return f"-r {listed.beside.name}\n" if listed.beside else ""
