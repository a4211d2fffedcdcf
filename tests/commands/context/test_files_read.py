"""Every command reads matrix.toml once, and matrix.lock at most once."""

import sys
from collections import Counter

import pytest
from tests.commands.context.conftest import SMOKE, Run
from tests.shipped import ROOT

from llamatrix.project import Project

_CELLS = ("--profile", "smoke", "--cells", "speed/qwen35-27b*")
_ARMS = ("--baseline", "april", "--candidate", "current", "--dry-run")
_opened: Counter[str] = Counter()


def _count(event: str, arguments: tuple[object, ...]) -> None:
    if event == "open" and str(arguments[0]).endswith(("matrix.toml", "matrix.lock")):
        _opened[str(arguments[0])] += 1


@pytest.fixture(scope="module", autouse=True)
def _counting() -> None:
    """Count the files that Python opens; a hook stays until the process ends."""
    sys.addaudithook(_count)


@pytest.mark.parametrize(
    "words",
    [
        ("plan", "--profile", "smoke"),
        ("build", "--profile", "smoke"),
        ("weights", *_CELLS),
        ("fit", "--model", "qwen35-27b", "--vram", "24GiB"),
        ("serve", "--profile", "smoke"),
        ("template-check", "--model", "qwen35-27b"),
        ("bench", *_CELLS),
        ("agent", "--profile", "smoke"),
        SMOKE,
        ("table",),
        ("llm-judge", "--url", "http://127.0.0.1:9", "--model", "judge"),
        ("compare", "--profile", "smoke"),
        ("audit", "blog-2026-04-05"),
        ("certificate", "--profile", "smoke"),
        ("regress", "--profile", "engines", *_ARMS),
        ("regress", "--agent", "--profile", "smoke", *_ARMS),
        ("all", *_CELLS),
        ("doctor",),
        ("regrade",),
    ],
    ids=" ".join,
)
def test_a_command_reads_each_file_once(
    words: tuple[str, ...], served: Project, search: Run
) -> None:
    """Records of one cell are there, so that a command that reports has what to show."""
    sets = served.root / "reports" / "published"
    sets.parent.mkdir()
    sets.symlink_to(ROOT / "reports" / "published")
    bench = search("bench", *_CELLS)
    assert bench.returncode == 0, bench.stderr
    _opened.clear()
    ended = search(*words)
    assert _opened[str(served.matrix_file)] == 1, ended.stderr
    assert _opened[str(served.lock_file)] <= 1, ended.stderr
    assert "Traceback" not in ended.stderr
