"""What those who work on llamatrix run: style, types, tests."""

import os
import sys
from importlib.util import find_spec

from llamatrix import shell
from llamatrix.commands.flags import LintFlags, TestFlags
from llamatrix.commands.launching import cell_to_serve
from llamatrix.config.context import load_context
from llamatrix.errors import BenchError, ProvisionError
from llamatrix.project import find_project
from llamatrix.provision.build import provide_build

_TIMEOUT_S = 1800
_PINS = ("april", "current")
"""Whose builds the slow tests run."""
_WORKERS = min((os.cpu_count() or 1) + 1, 8)
"""One more than cores: a test that waits for a program leaves its core to another."""
_SHARED = ("-n", str(_WORKERS), "--dist", "loadfile", "--no-loadscope-reorder")
_EVERYTHING = ("-m", "not gpu and not long", "--durations", "20")
_LONG = ("-m", "long", "-rP", "-n", "1")
"""One after the other: each starts a cluster of its own."""


class LintError(BenchError):
    """A check of style or types failed: exit code 1."""


def lint(_: LintFlags) -> None:
    """Run every linter, whatever the others find; each reads pyproject.toml."""
    root = find_project().root
    failed = []
    for words in ("ruff check", "ruff format --check", "mypy", "vulture"):
        name, *flags = words.split()
        if not find_spec(name):
            print(
                f"{name}: not installed, skipped; `pip install -r requirements-dev.txt` "
                "installs it"
            )
            continue
        ended = shell.run(
            [sys.executable, "-m", name, *flags],
            cwd=root,
            timeout_s=_TIMEOUT_S,
            on_line=lambda _, line: print(line, flush=True),
        )
        if not ended.ok:
            failed.append(words)
    if failed:
        raise LintError(f"not clean: {', '.join(failed)}")


def test(flags: TestFlags) -> None:
    """Become pytest: its exit code and its closing line are this command's.

    No test gets a second try: one that fails now and then is a test to repair. Builds
    that several tests share are compiled first, so that no test's time limit covers
    them. Bytecode is cached even where the environment turns that off.
    """
    if not find_spec("pytest"):
        raise ProvisionError(
            "pytest: not installed; `pip install -r requirements-dev.txt` installs it"
        )
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    words = [sys.executable, "-m", "pytest", *_SHARED]
    if flags.all:
        words += _EVERYTHING
        context = load_context("smoke")
        for pin in _PINS:
            provide_build(cell_to_serve(context, pin=pin), context.project.cache)
    elif flags.long:
        words += _LONG
    if flags.update_golden:
        words.append("--update-golden")
    shell.become(words, cwd=find_project().root)
