"""What those who work on llamatrix run: style, types, tests."""

import os
import sys

from llamatrix import shell
from llamatrix.commands.launching import cell_to_serve
from llamatrix.errors import BenchError
from llamatrix.project import find_project
from llamatrix.provision.build import provide_build

_TIMEOUT_S = 1800
_PINS = ("april", "current")
"""Whose builds the slow tests run."""
_WORKERS = min((os.cpu_count() or 1) + 1, 8)
"""One more than cores: a test that waits for a program leaves its core to another."""
_SHARED = ("-n", str(_WORKERS), "--dist", "loadfile", "--no-loadscope-reorder")
_EVERYTHING = ("-m", "not gpu", "--reruns", "1", "-rR", "--durations", "20")


class LintError(BenchError):
    """A check of style or types failed: exit code 1."""


def lint() -> None:
    root = find_project().root
    failed = []
    for name, *flags in (
        ("ruff", "check"),
        ("ruff", "format", "--check"),
        ("mypy",),
    ):
        argv = [sys.executable, "-m", name, *flags]
        ended = shell.run(
            argv,
            cwd=root,
            timeout_s=_TIMEOUT_S,
            on_line=lambda _, line: print(line, flush=True),
        )
        if not ended.ok:
            failed.append(" ".join((name, *flags)))
    if failed:
        raise LintError(f"not clean: {', '.join(failed)}")


def test(*, everything: bool, update_golden: bool) -> None:
    """Become pytest: its exit code and its closing line are this command's.

    With real programs on a busy machine a test gets a second try; its summary lists
    what needed one. What they share is compiled first: a test's time is its own. So is
    Python's bytecode, which some machines are told not to keep.
    """
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    flags = [*_SHARED, *(_EVERYTHING if everything else ())]
    if everything:
        _provide_builds()
    if update_golden:
        flags.append("--update-golden")
    root = find_project().root
    shell.become([sys.executable, "-m", "pytest", *flags], cwd=root)


def _provide_builds() -> None:
    project = find_project()
    for pin in _PINS:
        cell = cell_to_serve(project, profile="smoke", pin=pin)
        provide_build(cell, project.cache)
