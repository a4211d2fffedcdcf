"""`invoke audit`: findings of shipped sets and of anybody's file."""

import json
import shutil
from pathlib import Path

import pytest
from tests.commands.conftest import RunInvoke
from tests.reference.synthetic_sets import CLEAN
from tests.report.made_sweep import BLOG

from llamatrix.project import Project


@pytest.fixture
def shipped_sets(project: Project) -> Project:
    shutil.copytree(BLOG.parent, project.reports / "published")
    return project


@pytest.mark.usefixtures("shipped_sets")
def test_audit_names_the_figure_that_cannot_be_right(run_invoke: RunInvoke) -> None:
    ended = run_invoke("audit", "blog-2026-04-05")
    assert ended.returncode == 0, ended.stderr
    assert "3,435 / 125.56 = 27.36" in ended.stdout
    assert "### Roofline: published" in ended.stdout


@pytest.mark.usefixtures("shipped_sets")
def test_audit_json_is_one_document(run_invoke: RunInvoke) -> None:
    ended = run_invoke("audit", "blog-2026-04-05", "--json")
    document = json.loads(ended.stdout)
    assert document["set"] == "blog-2026-04-05"
    assert document["findings"][0]["severity"] == "impossible"


@pytest.mark.usefixtures("project")
def test_audit_takes_any_file_of_the_form_of_a_set(
    run_invoke: RunInvoke, tmp_path: Path
) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(CLEAN)
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
        ("[models.qwen35-27b]", "[models.qwen35-27c]", "models.qwen35-27b: unknown"),
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


PACMAN = """
schema_version = 1
[source]
title = "A Pac-Man by two local models on a laptop"
where = "www.tokentimes.world/articles/2026-05-01-006"
grade = "C"
[conditions]
gpu = "some-laptop"
task = "Pac-Man"
[models]
qwen36-27b = { name = "Qwen3.6-27B", proxy_for = "qwen35-27b" }
gemma4-31b = { name = "Gemma 4 31B" }
[tables.run]
title = "One game each"
columns = [
  { id = "tokens", quantity = "generated-tokens", unit = "tokens", step = 1 },
  { id = "time", quantity = "generation-time", unit = "s", step = 1 },
  { id = "rate", quantity = "generation-rate", unit = "tokens/s", step = 1 },
]
[tables.run.rows]
qwen36-27b = [33946, 1084, 32]
gemma4-31b = [6209, 231, 27]
"""
OLLAMA = """
schema_version = 1
[source]
title = "Gemma 4 on RTX 3090: 4B vs 12B vs 26B"
where = "multimodalflow.net/en/blog/gemma4-sizes-rtx3090-benchmark"
grade = "B"
[conditions]
gpu = "rtx-3090"
gpu_count = 1
program = "ollama"
quant = "Q4_K_M"
[models]
gemma4-e4b = { name = "gemma4:e4b" }
gemma4-26b-a4b = { name = "gemma4:26b", conditions = { offload = "in part" } }
[tables.prefill]
title = "Prefill, second run of the same prompt"
columns = [
  { id = "26", quantity = "prefill-rate", unit = "tokens/s", step = 1, conditions = { prompt_tokens = 26 } },
  { id = "192", quantity = "prefill-rate", unit = "tokens/s", step = 1, conditions = { prompt_tokens = 192 } },
]
[tables.prefill.rows]
gemma4-e4b = [2893, 16953]
gemma4-26b-a4b = [291, 2805]
[tables.generation]
title = "Generation"
columns = [
  { id = "short", quantity = "generation-rate", unit = "tokens/s", step = 0.1, conditions = { prompt_tokens = 26 } },
  { id = "long", quantity = "generation-rate", unit = "tokens/s", step = 0.1, conditions = { prompt_tokens = 192 } },
]
[tables.generation.rows]
gemma4-e4b = [131.0, 129.7]
gemma4-26b-a4b = [15.4, 16.4]
"""
PROXY = OLLAMA.replace('"gemma4:e4b"', '"gemma4:e4b", proxy_for = "gemma4-31b"')


@pytest.mark.usefixtures("project")
def test_a_rate_that_misses_tokens_over_time_by_its_rounding_is_inconsistent(
    run_invoke: RunInvoke, tmp_path: Path
) -> None:
    path = tmp_path / "pacman.toml"
    path.write_text(PACMAN)
    ended = run_invoke("audit", str(path))
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("pacman: 6 numbers, 1 findings\n\ninconsistent: ")
    assert "with rounding 31.301 to 31.33; printed 32, so 31.5 to 32.5" in ended.stdout
    assert "GPU some-laptop: no data sheet here" in ended.stdout


@pytest.mark.parametrize("text", [OLLAMA, PROXY])
@pytest.mark.usefixtures("project")
def test_a_table_of_a_model_that_the_matrix_lacks_is_audited(
    text: str, run_invoke: RunInvoke, tmp_path: Path
) -> None:
    path = tmp_path / "ollama.toml"
    path.write_text(text)
    ended = run_invoke("audit", str(path), "--json")
    assert ended.returncode == 0, ended.stderr
    document = json.loads(ended.stdout)
    assert {one["severity"] for one in document["findings"]} == {"odd"}
    rises = [
        one["arithmetic"]
        for one in document["findings"]
        if one["rule"] == "rates fall with context"
    ]
    assert rises == [
        "16,953 / 2,893 = 5.8600, more than 1.01",
        "2,805 / 291 = 9.6392, more than 1.01",
        "16.4 / 15.4 = 1.0649, more than 1.01",
    ]
    assert len(document["findings"]) == (3 if text is OLLAMA else 6)
