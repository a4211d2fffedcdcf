"""`invoke lock`: the pins of the matrix, resolved and written, or compared."""

from pathlib import Path

from llamatrix import shell
from llamatrix.errors import BenchError, ProvisionError
from llamatrix.plan.load import load_matrix
from llamatrix.plan.lock import load_lock
from llamatrix.progress import say
from llamatrix.project import find_project
from llamatrix.provision.compiler import find_tool
from llamatrix.provision.resolve import compare, resolve, write_lock

_TIMEOUT_S = 600


class LockDriftError(BenchError):
    """The lock and the world differ: exit code 1."""


def write() -> None:
    project = find_project()
    matrix = load_matrix(project.matrix_file)
    lock = resolve(matrix, project.cache)
    write_lock(lock, project.lock_file)
    say(f"{project.lock_file.name}: {len(lock.pins)} pins written")


def check() -> None:
    """Say of every entry whether it is the same, differs, or could not be checked."""
    project = find_project()
    matrix = load_matrix(project.matrix_file)
    lock = load_lock(project.lock_file)
    drifts = compare(matrix, lock, project.cache)
    for drift in drifts:
        word = "differs" if drift.checked else "not checked"
        print(f"{drift.entry}: {word}: {drift.found}")
    changed = [drift for drift in drifts if drift.checked]
    if changed:
        raise LockDriftError(
            f"matrix.lock: {len(changed)} differences; `invoke lock` writes it anew"
        )
    unchecked = len(drifts)
    same = len(lock.pins) - unchecked
    print(f"matrix.lock: {same} pins are the same, {unchecked} not checked")


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
