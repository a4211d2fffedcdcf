"""`invoke audit`: findings of shipped sets and of anybody's file."""

import json
import shutil
from pathlib import Path

import pytest
from tests.campaigns.conftest import RunInvoke
from tests.report.made_sweep import BLOG
from tests.report.reference.made_up import CLEAN

from llamatrix.project import Project


@pytest.fixture
def shipped_sets(project: Project) -> Project:
    shutil.copytree(BLOG.parent, project.reports / "published")
    return project


@pytest.mark.usefixtures("shipped_sets")
def test_the_figure_that_cannot_be_right_is_found(run_invoke: RunInvoke) -> None:
    ended = run_invoke("audit", "blog-2026-04-05")
    assert ended.returncode == 0, ended.stderr
    assert "3,435 / 125.56 = 27.36" in ended.stdout
    assert "### Roofline: published" in ended.stdout


@pytest.mark.usefixtures("shipped_sets")
def test_json_is_one_document(run_invoke: RunInvoke) -> None:
    ended = run_invoke("audit", "blog-2026-04-05", "--json")
    document = json.loads(ended.stdout)
    assert document["set"] == "blog-2026-04-05"
    assert document["findings"][0]["severity"] == "impossible"


@pytest.mark.usefixtures("project")
def test_any_file_of_that_form_is_taken(run_invoke: RunInvoke, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    text = CLEAN.replace(
        'small = { name = "Small"',
        'small = { proxy_for = "gemma4-31b", name = "Small"',
    )
    path.write_text(text)
    ended = run_invoke("audit", str(path))
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("mine: ")


@pytest.mark.usefixtures("shipped_sets")
def test_an_unknown_set_is_exit_code_7_with_the_nearest_name(
    run_invoke: RunInvoke,
) -> None:
    ended = run_invoke("audit", "blog-2026-04-50")
    assert ended.returncode == 7
    assert "'blog-2026-04-05'" in ended.stderr


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("[models.qwen35-27b]", "[models.qwen35-27c]", "models.qwen35-27c"),
        ('unit = "GiB", ', "", "unit"),
        ("qwen35-27b = [16.40, 26.90]", 'qwen35-27b = ["16.40", 26.90]', "16.40"),
    ],
)
def test_a_broken_set_is_exit_code_7_and_says_where(
    old: str, new: str, complaint: str, shipped_sets: Project, run_invoke: RunInvoke
) -> None:
    path = shipped_sets.reports / "published" / "blog-2026-04-05.toml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    ended = run_invoke("audit", "blog-2026-04-05")
    assert ended.returncode == 7
    assert complaint in ended.stderr
