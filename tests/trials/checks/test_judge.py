"""Judging: on a copy, in another process, with every check answered."""

import mmap
import os
import resource
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from msgspec.structs import replace

from llamatrix.errors import MeasureError
from llamatrix.trials.checks import judge as judging
from llamatrix.trials.checks import task as tasks
from llamatrix.trials.checks.check import limited_memory
from llamatrix.trials.checks.execution_environment import ExecutionEnvironment
from llamatrix.trials.checks.finding import State, Verdict
from llamatrix.trials.checks.judge import copy_workspace, judge
from llamatrix.trials.checks.task import (
    Edit,
    Task,
    Wrong,
    load_task,
    mutated_solution,
    reference_solution,
    seed_only,
)

Written = Callable[[Mapping[str, str]], Path]
SECRET = "the-secret-of-this-run"  # noqa: S105
MIXED = """
from unittest import mock

def test_a():
    print(SECRET)
    raise RuntimeError("the-secret-of-" + "this-run")
"""


def reasons(
    task: Task, folder: Path, execution: ExecutionEnvironment
) -> dict[str, tuple[State, str]]:
    found = judge(task, folder, transcript=None, execution=execution)
    return {each.check: (each.state, each.reason) for each in found.findings}


def test_good_work_without_trajectory_is_undecided(
    task: Task, execution: ExecutionEnvironment, tmp_path: Path
) -> None:
    work = reference_solution(task, tmp_path)
    before = sorted(work.workspace.rglob("*"))
    found = judge(task, work.workspace, transcript=None, execution=execution)
    assert found.verdict is Verdict.UNDECIDED
    assert {f.check for f in found.findings if f.state is State.NOT_APPLICABLE} == {
        "context7-called"
    }
    assert [f.check for f in found.findings] == list(task.checks)
    assert sorted(work.workspace.rglob("*")) == before


@pytest.mark.slow
def test_undeclared_package_without_trajectory_is_not_applicable(
    task: Task, execution: ExecutionEnvironment, tmp_path: Path
) -> None:
    work = reference_solution(task, tmp_path)
    (work.workspace / "pyproject.toml").unlink()
    state, reason = reasons(task, work.workspace, execution)["dependencies-declared"]
    assert state is State.NOT_APPLICABLE
    assert "httpx" in reason


@pytest.mark.slow
def test_findings_contain_no_secrets_and_no_paths_of_the_harness(
    task: Task, execution: ExecutionEnvironment, written: Written
) -> None:
    folder = written({"test_a.py": MIXED})
    known = replace(execution, secrets=(SECRET,))
    state, reason = reasons(task, folder, known)["tests-pass"]
    assert state is State.FAILED
    assert SECRET not in reason
    assert "llamatrix-judged-" not in reason


@pytest.mark.slow
def test_api_use_without_request_log_is_decided_by_imports(
    task: Task, execution: ExecutionEnvironment, tmp_path: Path, written: Written
) -> None:
    online = replace(execution, requests=None)
    work = reference_solution(task, tmp_path)
    good = reasons(task, work.workspace, online)["hits-real-api"]
    assert good == (State.PASSED, "test_fetch_post.py uses httpx.")
    files = {"a.py": "import httpx", "test_b.py": "def test_b():\n    pass"}
    state, reason = reasons(task, written(files), online)["hits-real-api"]
    assert (state, reason) == (
        State.FAILED,
        "No test uses code that imports httpx.",
    )


def test_copy_leaves_out_pipes_and_environments_and_keeps_links(
    written: Written, tmp_path: Path
) -> None:
    folder = written({"a.py": "", ".venv/x": "", "pkg/__pycache__/y": "", "pkg/b": ""})
    os.mkfifo(folder / "pipe")
    (folder / "link").symlink_to("/nowhere")
    copy_workspace(folder, tmp_path / "copy")
    names = {path.name for path in (tmp_path / "copy").rglob("*")}
    assert names == {"a.py", "pkg", "b", "link"}
    assert (tmp_path / "copy" / "link").is_symlink()


def test_workspace_that_cannot_be_copied_is_an_error(tmp_path: Path) -> None:
    deep = tmp_path.joinpath("work", *["x" * 200] * 19)
    deep.mkdir(parents=True)
    with pytest.raises(MeasureError, match=r"work: cannot be copied: .*too long"):
        copy_workspace(tmp_path / "work", tmp_path.joinpath(*["y" * 200] * 2))


def test_missing_workspace_or_transcript_is_an_error(
    task: Task, execution: ExecutionEnvironment, tmp_path: Path
) -> None:
    with pytest.raises(MeasureError, match="nothing: no such folder"):
        judge(task, tmp_path / "nothing", transcript=None, execution=execution)
    with pytest.raises(MeasureError, match="nothing: no such file"):
        judge(task, tmp_path, transcript=tmp_path / "nothing", execution=execution)


@pytest.mark.parametrize(
    ("program", "complaint"),
    [
        ("raise SystemExit('broken: AIza" + "x" * 35 + "')", "did not answer all"),
        ("import sys; open(sys.argv[2], 'w').write('[]')", "did not answer"),
    ],
)
def test_failing_check_program_is_an_error_of_the_harness(
    task: Task,
    execution: ExecutionEnvironment,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    program: str,
    complaint: str,
) -> None:
    (tmp_path / task.id).mkdir()
    (tmp_path / task.id / "check.py").write_text(program)
    monkeypatch.setattr(tasks, "TASKS", tmp_path)
    with pytest.raises(MeasureError, match=complaint) as caught:
        judging.judge(task, tmp_path, transcript=None, execution=execution)
    assert "AIza" not in str(caught.value)


CHECKS = """
from llamatrix.trials.checks.check import answer, failed
from llamatrix.trials.checks.evidence import Plan

def mistaken(evidence):
    return [][0]

def strange(evidence):
    return failed("\\ud800")

checks = {"mistaken": mistaken, "strange": strange}
answer(checks, lambda case: Plan(script={}, suite=()))
"""


def test_mistake_in_one_check_leaves_only_that_one_undecided(
    task: Task,
    execution: ExecutionEnvironment,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / task.id).mkdir()
    (tmp_path / task.id / "check.py").write_text(CHECKS)
    monkeypatch.setattr(tasks, "TASKS", tmp_path)
    check = task.checks["tests-pass"]
    odd = replace(task, checks=dict.fromkeys(("mistaken", "strange"), check))
    found = reasons(odd, tmp_path, execution)
    assert found["strange"] == (State.FAILED, r"\ud800")
    state, reason = found["mistaken"]
    assert state is State.NOT_APPLICABLE
    assert "IndexError" in reason
    assert "check.py line 6" in reason


def test_memory_of_a_check_is_limited() -> None:
    before = resource.getrlimit(resource.RLIMIT_AS)
    with limited_memory(), pytest.raises(OSError, match="allocate memory"):
        mmap.mmap(-1, 4 << 30)
    assert resource.getrlimit(resource.RLIMIT_AS) == before


def test_endless_program_fails_the_work(
    task: Task, execution: ExecutionEnvironment, written: Written
) -> None:
    files = {"a.py": "import time\ntime.sleep(600)", "test_b.py": "def test_b(): pass"}
    hasty = replace(task, limits=replace(task.limits, check_s=3.0))
    found = judge(hasty, written(files), transcript=None, execution=execution)
    said = {each.check: (each.state, each.reason) for each in found.findings}
    assert said["tests-pass"] == (State.FAILED, "The programs took more than 3 s.")
    assert said["no-mocks"][0] is State.NOT_APPLICABLE


@pytest.mark.slow
def test_script_in_a_package_runs_as_a_module(
    task: Task, execution: ExecutionEnvironment, tmp_path: Path
) -> None:
    work = reference_solution(task, tmp_path)
    package = work.workspace / "post"
    package.mkdir()
    (package / "__init__.py").touch()
    script = work.workspace / "fetch_post.py"
    script.rename(package / "fetch.py")
    (package / "run.py").write_text("from . import fetch\n\nfetch.main()\n")
    text = (package / "fetch.py").read_text()
    (package / "fetch.py").write_text(text.replace("__main__", "nobody"))
    assert reasons(task, work.workspace, execution)["prints-title"] == (
        State.PASSED,
        "`uv run --with httpx --with pytest python -m post.run` prints the title.",
    )


def test_mutation_that_does_not_apply_is_an_error(task: Task, tmp_path: Path) -> None:
    edit = Edit(file="fetch_post.py", old="not there", new="x")
    wrong = Wrong(fails="tests-pass", why="stale", edits=(edit,))
    with pytest.raises(
        MeasureError, match=r"fetch_post\.py does not contain 'not there'"
    ):
        mutated_solution(task, wrong, tmp_path)


def test_static_checks_of_gemini_images_need_no_packages(
    execution: ExecutionEnvironment, tmp_path: Path
) -> None:
    task = load_task("gemini-images")
    work = reference_solution(task, tmp_path)
    for name in ("test_generate_images.py", "images/2.png"):
        (work.workspace / name).unlink()
    found = reasons(task, work.workspace, execution)
    assert found["accepted-model"] == (
        State.PASSED,
        "Uses gemini-3.1-flash-image-preview.",
    )
    assert (
        found["five-images"][1] == "The folder holds 4 different valid images, not 5."
    )
    assert found["no-key"][0] is State.PASSED
    script = work.workspace / "generate_images.py"
    key = 'API_KEY = "AIza' + "k" * 35 + '"\n'
    script.write_text(key + script.read_text().replace("3.1-flash-image-preview", "9"))
    found = reasons(task, work.workspace, execution)
    assert found["accepted-model"][1].startswith("Uses gemini-9 instead of")
    assert found["no-key"] == (
        State.FAILED,
        "A key is hard-coded in generate_images.py, line 1.",
    )


DRAWS = """
import os
from pathlib import Path

import httpx

for line in Path(".env").read_text().splitlines() if Path(".env").is_file() else ():
    name, _, value = line.partition("=")
    os.environ.setdefault(name, value)
Path("images").mkdir(exist_ok=True)
for number in range(5):
    Path("images", f"{number}.png").touch()
key = KEY
url = "https://generativelanguage.googleapis.com/v1beta/models"
print(httpx.get(url, headers={"x-goog-api-key": key}).status_code)
"""
PLANTED = "\"\".join(chr(ord(c) + 1) for c in '@Hy`RxA8wP1lM6uQ3sK7vJ0oY5bG2iE4cF1aD3')"


@pytest.mark.parametrize(
    ("key", "state"),
    [
        ("os.environ['GEMINI_API_KEY']", State.PASSED),
        (f"os.environ.get('GEMINI_API_KEY') or {PLANTED}", State.FAILED),
    ],
)
def test_key_of_the_session_may_be_in_dot_env_but_not_in_code(
    execution: ExecutionEnvironment, written: Written, key: str, state: State
) -> None:
    """The key is the agent's own, which the service no longer accepts."""
    variables = f"GEMINI_API_KEY={execution.secrets[0]}\n"
    files = {"draw.py": DRAWS.replace("KEY\n", f"{key}\n"), ".env": variables}
    found = reasons(load_task("gemini-images"), written(files), execution)
    assert found["no-key"][0] is state, found["no-key"]


def test_the_seed_alone_fails_every_requirement(
    execution: ExecutionEnvironment, tmp_path: Path
) -> None:
    task = load_task("gemini-images")
    work = seed_only(task, tmp_path)
    found = judge(task, work.workspace, transcript=work.transcript, execution=execution)
    assert {each.state for each in found.findings} == {
        State.FAILED,
        State.NOT_APPLICABLE,
    }
