"""`invoke lock`: pins and weights of the matrix, resolved and written, or compared."""

import re
import tempfile
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
from llamatrix.engines.llama_cpp.templates import (
    compare_templates,
    find_correction,
    resolve_templates,
)
from llamatrix.errors import BenchError, MatrixError, ProvisionError
from llamatrix.progress import say
from llamatrix.project import Project, find_project
from llamatrix.provision.compiler import find_tool
from llamatrix.provision.npm import package_lock_file, write_package_lock
from llamatrix.provision.resolve import compare, resolve, write_lock
from llamatrix.provision.resolve_weights import compare_weights, resolve_weights
from llamatrix.provision.source import provide_source
from llamatrix.provision.weights.package import compare_packages, resolve_packages
from llamatrix.trials.stubs.wheel_index import LOCKED, WISHED

_TIMEOUT_S = 600
_HASH = re.compile(r" *\\\n +--hash=\S+")


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


def _write_requirements() -> None:
    """Resolve what we install, and what a sandbox can, exact and with hashes."""
    for source, target, more in _requirements():
        text = _compiled(source, target, "--upgrade", *more)
        target.write_text(text)
        say(f"{target.name}: written")


def _check_requirements() -> None:
    """Say of each list whether it still follows from its source; write nothing.

    The versions in it are kept where they still fit: a newer release is no difference.
    """
    differing = []
    for source, target, more in _requirements():
        text = target.read_text() if target.exists() else ""
        same = _compiled(source, target, *more) == text
        print(f"{target.name}: {'is the same' if same else 'differs'}")
        differing += [] if same else [target.name]
    if differing:
        raise LockDriftError(
            f"{', '.join(differing)}: not what its source resolves to; "
            "`invoke lock --python` writes it"
        )


def _requirements() -> tuple[tuple[Path, Path, tuple[str, ...]], ...]:
    """Each list of packages: its source, the file, and more flags of uv."""
    root = find_project().root
    ours = (
        root / "pyproject.toml",
        root / "requirements.txt",
        ("--extra", "dev", "--extra", "docs"),
    )
    return ours, (WISHED, LOCKED, ())


def _compiled(source: Path, target: Path, *more: str) -> str:
    """Return what a list would hold; uv works on a copy, and starts from its versions."""
    uv = find_tool("uv")
    if uv is None:
        raise ProvisionError("uv not found; `pip install uv` brings it")
    with tempfile.TemporaryDirectory(prefix="llamatrix-lock-") as folder:
        aside = Path(folder) / target.name
        if target.exists():  # uv would keep the hashes that it finds there
            aside.write_text(_HASH.sub("", target.read_text()))
        flags = [
            *("--universal", "--generate-hashes", "--no-annotate"),
            *("--no-header", "--quiet", "--python-version", "3.11"),
            *("--output-file", str(aside)),
        ]
        ended = shell.run(
            [str(uv), "pip", "compile", str(source), *more, *flags],
            timeout_s=_TIMEOUT_S,
        )
        if not ended.ok:
            raise ProvisionError(f"{target.name}: not resolved\n{ended.complaint()}")
        text = aside.read_text()
    if "://" in text:
        raise ProvisionError(
            f"{target.name}: uv wrote the address of a package index into it; not kept"
        )
    return text
