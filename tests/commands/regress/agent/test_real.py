"""The real thing: two versions of OpenCode in their sandboxes, one trial each."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from tests.agents.opencode.playing import INTEGRITY
from tests.invoking import invoked_apart
from tests.trials.trying import states

from llamatrix.project import Project
from llamatrix.records.store import Store
from llamatrix.records.trial_record import AGENT
from llamatrix.trials.checks.task import load_task
from llamatrix.trials.scripted import script_of
from llamatrix.trials.trial_result import Correct, TrialResult, TurnResult

pytestmark = [pytest.mark.slow, pytest.mark.network]

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def compare(real_environment: dict[str, str]) -> Run:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return invoked_apart(
            *("regress", "--agent", "--json"),
            *("--profile", "smoke", "--tasks", "httpx-post", "--trials", "1"),
            *arguments,
            env=real_environment,
        )

    return run


def test_one_trial_of_each_opencode_passes_says_too_little_and_is_reused(
    compare: Run, real_project: Project
) -> None:
    versions = ("--baseline", "agent:april", "--candidate", "agent:current")
    ended = compare(*versions)
    assert ended.returncode == 12, ended.stderr
    document = json.loads(ended.stdout)
    assert document["verdict"] == "INCONCLUSIVE"
    assert (document["made"], document["scripted"]) == (2, True)
    (cell,) = document["cells"]
    for arm in ("baseline", "candidate"):
        assert (cell[arm]["passed"], cell[arm]["trials"]) == (1, 1)
        assert cell[arm]["broken"] == []
    assert all(one["ratio"] > 0 for one in cell["amounts"])
    first, second = Store(reports=real_project.reports, kind=AGENT).read_all()
    assert {first.agent_version, second.agent_version} == set(INTEGRITY)
    for record in (first, second):
        _is_solved(record.result)
        _the_server_did_and_counted_the_work(record.result.turns[0])
    _only_work_is_kept(real_project)
    again = compare(*versions)
    assert again.returncode == 12
    assert json.loads(again.stdout)["cells"] == document["cells"]
    assert json.loads(again.stdout)["made"] == 0


def test_opencode_and_pi_face_each_other_at_the_same_task(compare: Run) -> None:
    ended = compare("--baseline", "agent:opencode", "--candidate", "agent:pi")
    assert ended.returncode == 12, ended.stderr
    (cell,) = json.loads(ended.stdout)["cells"]
    assert "/current..pi-current/" in cell["id"]
    for arm in ("baseline", "candidate"):
        assert (cell[arm]["passed"], cell[arm]["trials"]) == (1, 1)
        assert cell[arm]["broken"] == []


def _is_solved(result: TrialResult) -> None:
    assert result.outcome == Correct(turn=1)
    (turn,) = result.turns
    assert set(states(turn.judgement).values()) == {"passed"}, turn.judgement
    assert result.tdd
    assert result.tdd.followed
    assert result.quality
    assert result.quality.scripts == 1
    assert result.tokens
    assert min(result.tokens.system, result.tokens.tools, result.tokens.user) > 0
    assert result.seconds > turn.seconds + turn.judged_s


def _the_server_did_and_counted_the_work(turn: TurnResult) -> None:
    """The words are authored, but every prompt was read and every length generated."""
    transcript = script_of(load_task("httpx-post"), "solution")
    longest_tokens = len(msgspec.json.encode(transcript)) // 4
    made = turn.totals
    assert made.prompt_tokens > 10_000
    assert 0 < made.generated_tokens <= longest_tokens
    if not made.untimed_calls:  # random words may be what its parser refuses
        assert turn.disagreements == ()


def _only_work_is_kept(project: Project) -> None:
    kept = list(project.records.rglob("turn-1/workspace"))
    assert len(kept) == 2
    for workspace in kept:
        assert (workspace / "fetch_post.py").is_file()
    names = {path.name for path in project.records.rglob("*")}
    assert not {".venv", ".git"} & names
    assert not [name for name in names if name.endswith(".tar")]


def test_a_template_that_loses_tool_results_is_broken_without_a_trial(
    compare: Run, real_project: Project, tmp_path: Path
) -> None:
    pinned = (real_project.root / "templates" / "qwen35.toml").read_text()
    (name,) = (
        line.split('"')[1][:16]
        for line in pinned.splitlines()
        if line.startswith("result_sha256")
    )
    good = (real_project.cache / "templates" / f"{name}.jinja").read_text()
    mine = tmp_path / "mine.jinja"
    mine.write_text(good.replace('message.role == "tool"', 'message.role == "none"'))
    assert mine.read_text() != good
    ended = compare("--candidate", f"template:{mine}")
    assert ended.returncode == 11, ended.stderr
    (cell,) = json.loads(ended.stdout)["cells"]
    assert cell["verdict"] == "BROKEN"
    assert "fails essential cases" in cell["breaks"][0]
    assert json.loads(ended.stdout)["made"] == 0
