"""`invoke lock`: pins and weights of the matrix, resolved and written, or compared."""

from pathlib import Path

import msgspec

from llamatrix import shell
from llamatrix.errors import BenchError, ProvisionError
from llamatrix.plan.load import load_matrix
from llamatrix.plan.lock import Lock, load_lock, npm_packages
from llamatrix.progress import say
from llamatrix.project import find_project
from llamatrix.provision.compiler import find_tool
from llamatrix.provision.npm import package_lock_file, write_package_lock
from llamatrix.provision.resolve import compare, resolve, write_lock
from llamatrix.provision.resolve_weights import compare_weights, resolve_weights

_TIMEOUT_S = 600


class LockDriftError(BenchError):
    """The lock and the world differ: exit code 1."""


def write() -> None:
    project = find_project()
    matrix = load_matrix(project.matrix_file)
    weights = resolve_weights(matrix, _readable(project.lock_file))
    lock = msgspec.structs.replace(resolve(matrix, project.cache), weights=weights)
    write_lock(lock, project.lock_file)
    resolved = sum(locked.hub_file is not None for locked in weights.values())
    say(
        f"{project.lock_file.name}: {len(lock.pins)} pins written, {resolved} of "
        f"{len(weights)} weights resolved"
    )
    (package,) = npm_packages(matrix, "context7")
    for name, pin in matrix.context7.items():
        path = package_lock_file(project.root, name)
        if write_package_lock(package, pin.version, path):
            say(f"{path.relative_to(project.root)}: written")


def check() -> None:
    """Say of every entry whether it is the same, differs, or could not be checked."""
    project = find_project()
    matrix = load_matrix(project.matrix_file)
    lock = load_lock(project.lock_file)
    drifts = [
        *compare(matrix, lock, project.cache),
        *compare_weights(matrix, lock),
    ]
    for drift in drifts:
        word = "differs" if drift.checked else "not checked"
        print(f"{drift.entry}: {word}: {drift.found}")
    changed = [drift for drift in drifts if drift.checked]
    if changed:
        raise LockDriftError(
            f"matrix.lock: {len(changed)} differences; `invoke lock` writes it anew"
        )
    unchecked = len(drifts)
    entries = (*lock.pins, *lock.opencode, *lock.context7, *lock.weights)
    same = len(entries) - unchecked
    print(f"matrix.lock: {same} entries are the same, {unchecked} not checked")


def _readable(path: Path) -> Lock | None:
    try:
        return load_lock(path)
    except BenchError:
        return None


def write_requirements() -> None:
    """Resolve pyproject.toml into requirements.txt, exact and with hashes."""
    root = find_project().root
    uv = find_tool("uv")
    if uv is None:
        raise ProvisionError("uv not found; `pip install uv` brings it")
    flags = [
        *("--all-extras", "--universal", "--generate-hashes", "--no-annotate"),
        *("--no-header", "--quiet", "--python-version", "3.11", "--upgrade"),
        *("--output-file", "requirements.txt"),
    ]
    ended = shell.run(
        [str(uv), "pip", "compile", "pyproject.toml", *flags],
        cwd=root,
        timeout_s=_TIMEOUT_S,
    )
    if not ended.ok:
        raise ProvisionError(f"requirements.txt: not resolved\n{ended.complaint()}")
    _refuse_addresses(root / "requirements.txt")
    say("requirements.txt: written")


def _refuse_addresses(path: Path) -> None:
    """No address of a package index may stand in a committed file."""
    if "://" in path.read_text():
        path.unlink()
        raise ProvisionError(f"{path.name}: uv wrote an address into it; not kept")
