"""`invoke task-check`: every control of the tasks, and work of somebody else's."""

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.invoking import invoked

from llamatrix.commands.task_check import (
    Control,
    ControlError,
    controls_of,
    judge_control,
    require_no_mismatch,
    table,
)
from llamatrix.report.render.markdown import markdown
from llamatrix.trials.checks.execution_environment import ExecutionEnvironment
from llamatrix.trials.checks.finding import Kind, State
from llamatrix.trials.checks.loopback_execution import loopback_execution
from llamatrix.trials.checks.task import load_task, task_ids

TASK = load_task("httpx-post")
CONTROLS = controls_of(TASK)


@pytest.fixture
def execution(
    tmp_path: Path, fake_program: Callable[[str, str], Path]
) -> Iterator[ExecutionEnvironment]:
    """Where every package is there already: prompt 2's SDK is not, so prompt 1's."""
    folder = tmp_path / "execution"
    folder.mkdir()
    uv = fake_program("uv", "uv.py")
    with loopback_execution(TASK, folder, cache=tmp_path / "cache", uv=uv) as ready:
        yield ready


@pytest.mark.parametrize("control", CONTROLS[:2], ids=lambda each: each.name)
def test_known_work_gets_the_expected_states(
    control: Control, execution: ExecutionEnvironment, tmp_path: Path
) -> None:
    """The no-op and the reference solution; the slow test below judges all controls."""
    result = judge_control(TASK, control, execution, tmp_path)
    require_no_mismatch([result])
    assert "| ok " in markdown(table([result]))


def test_unexpected_state_breaks_the_control(
    execution: ExecutionEnvironment, tmp_path: Path
) -> None:
    no_op = CONTROLS[0]
    expected = {**no_op.expected, "prints-title": State.PASSED}
    result = judge_control(
        TASK,
        Control(name="other", make=no_op.make, expected=expected),
        execution,
        tmp_path,
    )
    assert "| BROKEN " in markdown(table([result]))
    with pytest.raises(ControlError, match="prints-title is failed, not passed") as it:
        require_no_mismatch([result])
    assert it.value.exit_code == 1


@pytest.mark.parametrize("name", task_ids())
def test_no_op_fails_required_checks_and_forbidding_ones_are_not_applicable(
    name: str,
) -> None:
    task = load_task(name)
    no_op, *others = controls_of(task)
    for check, state in no_op.expected.items():
        required = task.checks[check].kind is Kind.REQUIRES
        assert state is (State.FAILED if required else State.NOT_APPLICABLE)
    reference = next(each for each in others if each.name == "reference solution")
    assert set(reference.expected.values()) == {State.PASSED}


@pytest.mark.parametrize("name", task_ids())
def test_every_check_has_a_mutation_that_fails_only_it(name: str) -> None:
    task = load_task(name)
    for check in task.checks:
        (least, *_) = sorted(
            (
                {name for name, state in each.expected.items() if state is State.FAILED}
                for each in controls_of(task)
                if each.expected[check] is State.FAILED
                and each.name.startswith("wrong: ")
            ),
            key=len,
        )
        assert least == {check}, "and no other"


def task_check(
    *flags: str, cache: Path | None = None
) -> subprocess.CompletedProcess[str]:
    environment = dict(os.environ)
    if cache:
        environment["LLAMATRIX_CACHE"] = str(cache)
    return invoked("task-check", *flags, env=environment)


def test_workspace_without_trajectory_is_judged_as_json(
    tmp_path: Path,
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    flags = ("--task", "httpx-post", "--workspace", str(empty), "--json")
    ended = task_check(*flags, cache=tmp_path)
    assert ended.returncode == 1
    report = json.loads(ended.stdout)
    assert report["verdict"] == "failed"
    states = {each["check"]: each["state"] for each in report["findings"]}
    assert states["context7-called"] == "n/a"
    assert states["tests-pass"] == "failed"
    assert {each["kind"] for each in report["findings"]} == {"requires", "forbids"}


def test_given_trajectory_is_read(tmp_path: Path) -> None:
    log = TASK.folder / "solution" / "trajectory.jsonl"
    flags = ("--task", "httpx-post", "--workspace", str(tmp_path))
    ended = task_check(*flags, "--trajectory", str(log), cache=tmp_path)
    assert ended.returncode == 1
    (line,) = (line for line in ended.stdout.splitlines() if "context7-called" in line)
    assert "passed" in line


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        (("--task", "httpx-pots"), "did you mean 'httpx-post'?"),
        (("--workspace", "."), "also give the --task"),
        (("--trajectory", "x"), "also give the --workspace"),
    ],
)
def test_contradictory_flags_are_one_line(
    flags: tuple[str, ...], complaint: str, tmp_path: Path
) -> None:
    ended = task_check(*flags, cache=tmp_path)
    assert ended.returncode == 5
    (line,) = (ended.stdout + ended.stderr).splitlines()
    assert complaint in line


@pytest.mark.slow
@pytest.mark.network
def test_all_controls_match_with_real_uv_and_packages() -> None:
    ended = task_check()
    assert ended.returncode == 0, ended.stderr
    assert "BROKEN" not in ended.stdout
    assert ended.stdout.count("| reference ") == len(task_ids())
