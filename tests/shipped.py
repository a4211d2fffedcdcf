"""The project's own files, and the cells that they plan."""

from functools import cache
from pathlib import Path

from llamatrix.config.cell import Cell
from llamatrix.config.context import Context
from llamatrix.config.expand import expand_plan
from llamatrix.config.load import load_matrix
from llamatrix.config.lock import Lock, load_lock
from llamatrix.config.matrix import Matrix
from llamatrix.project import Project

ROOT = Path(__file__).resolve().parents[1]
FAKES = ROOT / "tests" / "fakes"
GOLDEN = ROOT / "tests" / "golden"
CAPTURED = ROOT / "tests" / "captured"
NOWHERE = "/nonexistent"
"""Cache folder of the hub's client: nothing is ever downloaded to it."""


@cache
def shipped_matrix() -> Matrix:
    return load_matrix(ROOT / "matrix.toml")


@cache
def shipped_lock() -> Lock:
    return load_lock(ROOT / "matrix.lock")


@cache
def shipped_cells(profile: str) -> tuple[Cell, ...]:
    """Return the speed cells of a profile of the shipped matrix, none of a real model."""
    cells = expand_plan(shipped_matrix(), shipped_lock(), profile).speed
    return tuple(cell for cell in cells if not cell.packaged)


def shipped_context(profile: str, matrix: Matrix | None = None) -> Context:
    return Context(
        project=Project(root=ROOT, cache=ROOT / "no-cache"),
        matrix=matrix or shipped_matrix(),
        lock=shipped_lock(),
        profile=profile,
    )
