"""What `invoke table` writes beside its tables, and how it bears broken parts."""

import json
import shutil
from pathlib import Path

from tests.commands.conftest import RunInvoke
from tests.invoking import invoked
from tests.report.made_sweep import BLOG, stored, sweep
from tests.report.made_trials import made_trial, published_trials, stored_trials
from tests.shipped import ROOT

from llamatrix.project import Project

_UNLOCKED = """
[pins.my-pr]
build_number = 1
git = "/nonexistent"
rev = "main"

[profiles.my-pr]
about = "a change of mine"
pins = ["my-pr"]
builds = ["cpu"]
models = ["gemma4-31b"]
weights = "tiny"
measure = ["speed"]
sweep = "smoke"
"""


def test_the_page_and_the_exports_are_written_with_the_tables(
    project: Project, run_invoke: RunInvoke
) -> None:
    shutil.copytree(BLOG.parent, project.reports / "published")
    stored(project.reports, sweep())
    ended = run_invoke("table", "--full")
    assert ended.returncode == 0, ended.stderr
    assert "Against blog-2026-04-05" in (project.reports / "index.html").read_text()
    assert len(json.loads((project.reports / "speed.json").read_text())) == 96


def test_a_broken_reference_set_is_named_and_stops_no_table(
    project: Project, run_invoke: RunInvoke
) -> None:
    (project.reports / "published").mkdir(parents=True)
    (project.reports / "published" / "broken.toml").write_text("schema_version = ")
    stored(project.reports, sweep())
    ended = run_invoke("table", "--full")
    assert ended.returncode == 0
    assert "passing over a reference set: broken.toml" in ended.stderr
    assert "### Prefill Speed" in ended.stdout


def test_hosts_have_separate_sections(project: Project, run_invoke: RunInvoke) -> None:
    stored(project.reports, sweep())
    stored(project.reports, sweep(0.5, host="another-card-000000"))
    run_invoke("table", "--full")
    page = (project.reports / "index.html").read_text()
    for host in ("rtx-4090-abc123", "another-card-000000"):
        assert f'<section id="g-{host}-published-hub-april-cuda"' in page


def test_exported_page_has_all_files_that_it_links_to(
    project: Project, run_invoke: RunInvoke
) -> None:
    stored(project.reports, sweep())
    copy = project.root / "copy"
    ended = run_invoke("table", "--full", "--out", str(copy))
    assert ended.returncode == 0, ended.stderr
    assert (copy / "index.html").read_bytes() == (
        project.reports / "index.html"
    ).read_bytes()
    kept = {
        path.relative_to(project.records) for path in project.records.rglob("*.jsonl")
    }
    assert {
        path.relative_to(copy / "records") for path in copy.rglob("*.jsonl")
    } == kept


def test_trials_are_shown_after_the_speeds_and_written_beside_them(
    project: Project, run_invoke: RunInvoke
) -> None:
    stored(project.reports, sweep())
    stored_trials(project.reports, published_trials())
    ended = run_invoke("table", "--full")
    assert ended.returncode == 0, ended.stderr
    shown = ended.stdout
    assert (
        0 < shown.index("### Prefill Speed") < shown.index("### Results: Qwen3.5-27B")
    )
    assert shown.endswith((project.reports / "agent.md").read_text())
    assert len(json.loads((project.reports / "turns.json").read_text())) == 11
    assert len(list(project.reports.glob("tables/agent-results-*.csv"))) == 4


def test_table_of_trials_without_speeds_is_written(
    project: Project, run_invoke: RunInvoke
) -> None:
    stored_trials(project.reports, [made_trial()])
    ended = run_invoke("table", "--full")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("# Agent\n")
    assert not (project.reports / "speed.md").exists()
    assert (project.reports / "index.html").exists()


def test_table_without_trials_does_not_mention_them(
    project: Project, run_invoke: RunInvoke
) -> None:
    stored(project.reports, sweep())
    ended = run_invoke("table", "--full")
    assert "Agent" not in ended.stdout
    assert list(project.reports.glob("agent*")) == []


def test_a_profile_shows_the_trials_of_its_own_agent(
    project: Project, run_invoke: RunInvoke
) -> None:
    stored_trials(project.reports, [made_trial()])
    assert (
        "Results: Qwen3.5-27B"
        in run_invoke("table", "--full", "--profile", "published").stdout
    )
    ended = run_invoke("table", "--full", "--profile", "smoke")
    assert ended.returncode == 7
    assert "no records of profile 'smoke'" in ended.stderr


def test_exported_trials_have_no_trajectories(
    project: Project, run_invoke: RunInvoke
) -> None:
    record = made_trial()
    stored_trials(project.reports, [record])
    assert record.served
    trajectory = project.records / record.host.slug / record.served.trajectory
    trajectory.mkdir(parents=True)
    (trajectory / "calls.jsonl").write_text("{}\n")
    copy = project.root / "copy"
    ended = run_invoke("table", "--full", "--out", str(copy))
    assert ended.returncode == 0, ended.stderr
    assert [path.name for path in copy.rglob("*.jsonl")] == ["httpx-post.jsonl"]
    for name in ("agent.md", "trials.csv", "turns.json", "index.html"):
        assert (copy / name).read_bytes() == (project.reports / name).read_bytes()


def test_summary_is_short_answers_the_questions_of_the_page_and_ends_with_it(
    run_invoke: RunInvoke,
) -> None:
    for name, slower in (("h200", "Yes: SLOWER; "), ("h100-x4", "Not provable; ")):
        folder = ROOT / "reports" / "examples" / name
        ended = run_invoke("table", "--records", str(folder))
        assert ended.returncode == 0, ended.stderr
        lines = ended.stdout.splitlines()
        assert len(lines) <= 16
        assert max(map(len, lines)) <= 100
        assert any(line.startswith("Which model?        Qwen3.5-") for line in lines)
        assert any(line.startswith(f"Did it get slower?  {slower}") for line in lines)
        assert any(line.startswith("Does it reproduce?  ") for line in lines)
        assert lines[-1].startswith("Page ")
        assert lines[-1].endswith(f"examples/{name}/index.html")


def test_pages_are_the_same_where_the_locale_is_not_utf8(
    project: Project, invoke_environment: dict[str, str], tmp_path: Path
) -> None:
    example = ROOT / "reports" / "examples" / "h200"
    out = tmp_path / "out"
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    ended = invoked(
        *("table", "--records", str(example), "--out", str(out)),
        env={**invoke_environment, **plain, "LLAMATRIX_ROOT": str(project.root)},
    )
    assert ended.returncode == 0, ended.stderr
    assert "→" in (out / "index.html").read_text(encoding="utf-8")


def test_pin_of_another_profile_that_is_not_locked_stops_no_table(
    project: Project, run_invoke: RunInvoke
) -> None:
    with project.matrix_file.open("a") as matrix:
        matrix.write(_UNLOCKED)
    stored(project.reports, sweep())
    ended = run_invoke("table", "--full")
    assert ended.returncode == 0, ended.stderr
    assert "### Prefill Speed" in ended.stdout
