"""The documentation: generated pages, links, commands and snippets."""

import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest
import tomli_w
from tests.commands.conftest import RunInvoke, run_invoke
from tests.shipped import ROOT
from tests.test_documents import exists, paths_in, unknown_commands

from llamatrix.commands.docs import references
from llamatrix.config.load import load_matrix
from llamatrix.project import Project

__all__ = ["run_invoke"]

PAGES = sorted((ROOT / "docs").rglob("*.md"))
page = pytest.mark.parametrize(
    "path", PAGES, ids=lambda path: path.relative_to(ROOT / "docs").as_posix()
)
_SHELL = re.compile(r"(<!-- run -->\n)?```sh\n(.*?)```", re.DOTALL)


def test_references_follow_from_the_types() -> None:
    for name, text in references().items():
        assert (ROOT / name).read_text() == text, (
            f"{name}: `invoke docs --references` writes it"
        )


@page
def test_commands_flags_and_paths_of_a_page_exist(path: Path) -> None:
    text = path.read_text()
    assert list(unknown_commands(text)) == []
    without_links = re.sub(r"\]\([^)]*\)", "]", text)  # the site's build checks them
    assert [name for name in paths_in(without_links) if not exists(name)] == []


@pytest.mark.parametrize(
    "line",
    sorted(
        {
            line
            for path in PAGES
            for run, block in _SHELL.findall(path.read_text())
            if run
            for line in block.splitlines()
        }
    ),
)
@pytest.mark.usefixtures("project")
def test_snippet_that_is_marked_to_run_succeeds(
    line: str, project: Project, run_invoke: RunInvoke
) -> None:
    shutil.copytree(ROOT / "reports" / "published", project.reports / "published")
    program, *arguments = shlex.split(line)
    ended = run_invoke(*arguments)
    assert (program, ended.returncode) == ("invoke", 0), ended.stderr
    assert ended.stdout.strip()


def test_toml_snippets_are_accepted_in_matrix_toml(tmp_path: Path) -> None:
    blocks = [
        block
        for path in PAGES
        for block in re.findall(r"```toml\n(.*?)```", path.read_text(), re.DOTALL)
    ]
    raw = tomllib.loads((ROOT / "matrix.toml").read_text())
    for block in blocks:
        for table, entries in tomllib.loads(block).items():
            for key, entry in entries.items():
                known = raw.setdefault(table, {})
                known[key] = {**known.get(key, {}), **entry}
    path = tmp_path / "matrix.toml"
    path.write_text(tomli_w.dumps(raw))
    assert len(blocks) >= 4
    assert "my-tree" in load_matrix(path).pins


@pytest.mark.skipif(
    find_spec("zensical") is None,
    reason="zensical is not installed: `pip install -r requirements-dev.txt`",
)
def test_site_is_built_without_dead_links(tmp_path: Path) -> None:
    shutil.copy(ROOT / "zensical.toml", tmp_path)
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    argv = [sys.executable, "-m", "zensical", "build", "--strict"]
    built = subprocess.run(
        argv, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stdout + built.stderr
    assert (tmp_path / "site" / "howto" / "my-card.html").exists()
    with (tmp_path / "docs" / "index.md").open("a") as index:
        index.write("\n[gone](gone.md)\n")
    built = subprocess.run(
        argv, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert built.returncode != 0
