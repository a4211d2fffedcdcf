"""One function selects cells for every `--cells`."""

import ast
import re

import pytest
from tests.shipped import ROOT

from llamatrix.config.expand import select_cells
from llamatrix.errors import MatrixError

IDS = ("speed/qwen35-27b.tiny/current/cpu", "agent/qwen35-27b.tiny/current/cpu/httpx")
PACKAGE = ROOT / "scripts" / "llamatrix"


def chosen(pattern: str) -> tuple[str, ...]:
    return select_cells(IDS, pattern, ids=lambda name: (name, f"other/{name}"))


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("", IDS),
        ("*", IDS),
        ("speed/*", IDS[:1]),
        (IDS[1], IDS[1:]),
        ("other/agent/*", IDS[1:]),
    ],
)
def test_cells_are_chosen_by_a_glob_over_their_names_in_order(
    pattern: str, names: tuple[str, ...]
) -> None:
    assert chosen(pattern) == names


def test_glob_without_a_match_names_the_nearest_cell() -> None:
    said = f"--cells 'speed/qwen35-27b/current/cpu' matches no cell; did you mean '{IDS[0]}'?"
    with pytest.raises(MatrixError, match=f"^{re.escape(said)}$"):
        chosen("speed/qwen35-27b/current/cpu")


def test_only_the_plan_matches_globs_with_ids() -> None:
    users = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and node.module == "fnmatch"
    }
    assert users == {"config/expand.py"}
