"""Where the project's own files lie, and the cells that they plan."""

from pathlib import Path

from llamatrix.plan.cell import Cell
from llamatrix.plan.expand import expand
from llamatrix.plan.load import load_matrix
from llamatrix.plan.lock import load_lock

ROOT = Path(__file__).resolve().parents[1]
FAKES = ROOT / "tests" / "fakes"
GOLDEN = ROOT / "tests" / "golden"
CAPTURED = ROOT / "tests" / "captured"
NOWHERE = "/nonexistent"
"""Where the hub's client would keep files: nothing is ever fetched to there."""


def shipped_cells(profile: str) -> tuple[Cell, ...]:
    """The cells of a profile of the shipped matrix."""
    matrix = load_matrix(ROOT / "matrix.toml")
    return expand(matrix, load_lock(ROOT / "matrix.lock"), profile)
