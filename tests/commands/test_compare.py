"""`invoke compare`: exit code, both outputs, hosts kept apart, an empty store."""

import json
import shutil
from pathlib import Path

import pytest
from tests.commands.conftest import RunInvoke
from tests.report.made_sweep import BLOG, HOST, stored, sweep
from tests.report.made_trials import made_trial, published_trials, stored_trials
from tests.shipped import ROOT

from llamatrix.project import Project
from llamatrix.stats.simulation import Rate

BLOG_OF = ("compare", "--against", "blog-2026-04-05", "--profile", "published")


@pytest.fixture
def shipped_sets(project: Project) -> Project:
    shutil.copytree(BLOG.parent, project.reports / "published")
    return project


def test_compare_of_agreeing_numbers_exits_0(
    shipped_sets: Project, run_invoke: RunInvoke
) -> None:
    stored(shipped_sets.reports, sweep(0.97))
    ended = run_invoke(*BLOG_OF, "--host", HOST)
    assert ended.returncode == 0, ended.stderr
    assert "30 reproduced, " in ended.stdout
    assert "| generation/gemma4-31b/tg128 " in ended.stdout
    assert "### Without the hardware: order of the models" in ended.stdout
    assert "### Roofline: ours" in ended.stdout


def test_compare_of_differing_numbers_exits_1(
    shipped_sets: Project, run_invoke: RunInvoke
) -> None:
    stored(shipped_sets.reports, sweep(0.6))
    ended = run_invoke(*BLOG_OF, "--host", HOST, "--json")
    assert ended.returncode == 1
    assert "20 of 30 comparable numbers differ" in ended.stderr
    document = json.loads(ended.stdout)
    (group,) = document["groups"]
    assert len(group["held"]["comparisons"]) == 207
    assert {one["tau"] for one in group["held"]["ratios"]} == {1.0}


def test_compare_without_comparable_numbers_exits_0(
    shipped_sets: Project, run_invoke: RunInvoke
) -> None:
    stored(shipped_sets.reports, sweep(0.1, gpus=()))
    ended = run_invoke(*BLOG_OF, "--host", HOST)
    assert ended.returncode == 0
    assert "gpu: ours none, theirs rtx-4090" in ended.stdout


def test_compare_leaves_out_records_of_other_hosts(
    shipped_sets: Project, run_invoke: RunInvoke
) -> None:
    stored(shipped_sets.reports, sweep(0.97))
    stored(shipped_sets.reports, sweep(0.2, host="slow-rtx-4090-000000"))
    ended = run_invoke(*BLOG_OF, "--host", HOST)
    assert ended.returncode == 0
    assert "slow-rtx-4090" not in ended.stdout


def test_host_without_records_names_hosts_that_have_some(
    shipped_sets: Project, run_invoke: RunInvoke
) -> None:
    stored(shipped_sets.reports, sweep())
    ended = run_invoke(*BLOG_OF)
    assert ended.returncode == 7
    assert f"--host takes one of: {HOST}" in ended.stderr


def test_a_profile_without_records_names_the_remedy(
    shipped_sets: Project, run_invoke: RunInvoke
) -> None:
    stored(shipped_sets.reports, sweep())
    ended = run_invoke(*BLOG_OF[:3], "--profile", "synthetic", "--host", HOST)
    assert ended.returncode == 7
    assert "invoke all --profile synthetic" in ended.stderr


@pytest.mark.slow
def test_the_bandwidth_of_this_machine_is_kept_beside_its_records(
    shipped_sets: Project, run_invoke: RunInvoke
) -> None:
    stored(shipped_sets.reports, sweep())
    ended = run_invoke(*BLOG_OF, "--host", HOST, "--bandwidth")
    assert ended.returncode == 0, ended.stderr
    (path,) = shipped_sets.records.glob("*/bandwidth.json")
    document = json.loads(path.read_text())
    assert document["pass_bytes"] == 3 * document["array_bytes"]
    assert " GB/s by " in ended.stderr


@pytest.mark.usefixtures("shipped_sets")
def test_an_empty_store_is_exit_code_7_with_the_remedy(run_invoke: RunInvoke) -> None:
    ended = run_invoke(*BLOG_OF)
    assert ended.returncode == 7
    assert "no records yet; `invoke all`" in ended.stderr


def test_compare_shows_trials_beside_speeds(
    shipped_sets: Project, run_invoke: RunInvoke
) -> None:
    stored(shipped_sets.reports, sweep(0.97))
    stored_trials(shipped_sets.reports, published_trials())
    ended = run_invoke(*BLOG_OF, "--host", HOST, "--json")
    assert ended.returncode == 0, ended.stderr
    speeds, trials = json.loads(ended.stdout)["groups"]
    assert "trials" not in speeds["held"]
    assert trials["held"]["trials"] == "published setup, OpenCode 1.3.2, online"
    shown = run_invoke(*BLOG_OF, "--host", HOST).stdout
    assert "| agent/gemma4-31b/p2/generation-rate " in shown


def test_compare_accepts_trials_without_speeds(
    shipped_sets: Project, run_invoke: RunInvoke
) -> None:
    stored_trials(shipped_sets.reports, [made_trial(script="solution")])
    ended = run_invoke(*BLOG_OF, "--host", HOST)
    assert ended.returncode == 0, ended.stderr
    assert "scripted here: an authored transcript spoke" in ended.stdout


@pytest.mark.parametrize(
    ("example", "reason"),
    [
        ("h100", "gpu: ours h100-sxm, theirs rtx-4090"),
        ("h100-x4", "gpu: ours h100-sxm, theirs rtx-4090"),
        ("h200", "gpu: ours h200-sxm, theirs rtx-4090"),
        ("cpu", "gpu: ours none, theirs rtx-4090"),
    ],
)
@pytest.mark.usefixtures("shipped_sets")
def test_shipped_example_is_compared_with_the_reason_for_what_is_left_out(
    example: str, reason: str, run_invoke: RunInvoke
) -> None:
    folder = ROOT / "reports" / "examples" / example
    host = ("--host", "amd-epyc-2-cores-f243b2") if example == "cpu" else ()
    ended = run_invoke(*BLOG_OF[:3], "--records", str(folder), *host)
    assert ended.returncode == 0, ended.stderr
    lines = [one for one in ended.stdout.splitlines() if "Nothing is comparable" in one]
    assert reason in lines[0]
    assert "Our 95 % interval" not in ended.stdout
    assert "e-0" not in ended.stdout
    assert "e+0" not in ended.stdout


@pytest.mark.usefixtures("shipped_sets")
def test_a_folder_without_records_is_exit_code_7_with_the_remedy(
    run_invoke: RunInvoke, tmp_path: Path
) -> None:
    ended = run_invoke(*BLOG_OF[:3], "--records", str(tmp_path))
    assert ended.returncode == 7
    assert "no folder `records` in it" in ended.stderr


@pytest.mark.usefixtures("shipped_sets")
def test_a_profile_that_a_folder_lacks_is_exit_code_7(run_invoke: RunInvoke) -> None:
    folder = ROOT / "reports" / "examples" / "h200"
    ended = run_invoke("compare", "--records", str(folder), "--profile", "smoke")
    assert ended.returncode == 7
    assert "leave --profile out" in ended.stderr


@pytest.mark.usefixtures("shipped_sets")
def test_records_flag_accepts_the_records_folder_itself(run_invoke: RunInvoke) -> None:
    folder = ROOT / "reports" / "examples" / "h200" / "records"
    ended = run_invoke(*BLOG_OF[:3], "--records", str(folder))
    assert ended.returncode == 0, ended.stderr


def test_tables_of_another_folder_are_shown_and_not_written(
    project: Project, run_invoke: RunInvoke
) -> None:
    folder = ROOT / "reports" / "examples" / "h200"
    ended = run_invoke("table", "--full", "--records", str(folder))
    assert ended.returncode == 0, ended.stderr
    assert "short sweep" in ended.stdout
    assert not list(project.reports.rglob("*.md"))


def test_selftest_names_a_promise_broken_beyond_chance() -> None:
    assert Rate(share=0.08, runs=1000).exceeds(0.05)
    assert not Rate(share=0.055, runs=1000).exceeds(0.05)
    assert Rate(share=0.05, runs=1000).standard_error == pytest.approx(0.0069, abs=1e-4)
