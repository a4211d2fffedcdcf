"""`invoke lint`: what it runs, and what it does without one of its programs."""

import sys

import pytest

from llamatrix.commands.dev import LintError, lint
from llamatrix.commands.flags import LintFlags
from llamatrix.project import Project


@pytest.fixture
def linters(monkeypatch: pytest.MonkeyPatch, project: Project) -> pytest.MonkeyPatch:
    """Leave vulture alone installed, and a project in which nothing is dead."""
    for name in ("ruff", "mypy"):
        monkeypatch.setitem(sys.modules, name, None)
    (project.root / "pyproject.toml").write_text('[tool.vulture]\npaths = ["."]\n')
    (project.root / "used.py").write_text("def used(): ...\nused()\n")
    return monkeypatch


@pytest.mark.usefixtures("linters")
def test_unused_function_fails_lint(project: Project) -> None:
    lint(LintFlags())
    (project.root / "unused.py").write_text("def unused(): ...\n")
    with pytest.raises(LintError, match="not clean: vulture"):
        lint(LintFlags())


def test_linter_that_is_not_installed_is_named_and_skipped(
    linters: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    linters.setitem(sys.modules, "vulture", None)
    lint(LintFlags())
    assert "vulture: not installed, skipped; `pip install" in capsys.readouterr().out
