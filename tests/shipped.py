"""Where the project's own files lie, and the cells that they plan."""

from pathlib import Path

from llamatrix.config.cell import Cell
from llamatrix.config.expand import expand
from llamatrix.config.load import load_matrix
from llamatrix.config.lock import load_lock

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
