"""Test the checks of the tasks on work whose verdict is known, or judge a workspace."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from llamatrix.commands.flags import TaskCheckFlags
from llamatrix.commands.task_cases import ExecutionEnvironments, judge_cases
from llamatrix.errors import BenchError, MeasureError
from llamatrix.progress import meter
from llamatrix.report.render.markdown import markdown
from llamatrix.report.table import Table
from llamatrix.scratch import scratch_folder
from llamatrix.trials.checks.execution_environment import ExecutionEnvironment
from llamatrix.trials.checks.finding import Judgement, Kind, State
from llamatrix.trials.checks.judge import judge
from llamatrix.trials.checks.task import (
    KnownWork,
    Task,
    load_task,
    mutated_solution,
    no_op,
    reference_solution,
    seed_only,
    task_ids,
)
from llamatrix.units import json_text


class ControlError(BenchError):
    """A check gave known work another state than the expected one: exit code 1."""


class WorkError(BenchError):
    """A check failed on a workspace: exit code 1."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Control:
    """Work whose findings are known, check by check."""

    name: str
    make: Callable[[Path], KnownWork]
    expected: Mapping[str, State]


@dataclass(frozen=True, kw_only=True, slots=True)
class ControlResult:
    """A control and its judgement."""

    task: Task
    control: Control
    judgement: Judgement

    @property
    def mismatches(self) -> tuple[str, ...]:
        """Checks whose state is not the expected one, with their reasons."""
        return tuple(
            f"{finding.check} is {finding.state}, not "
            f"{self.control.expected[finding.check]}: {finding.reason}"
            for finding in self.judgement.findings
            if finding.state is not self.control.expected[finding.check]
        )


def controls_of(task: Task) -> tuple[Control, ...]:
    nothing = {
        name: State.FAILED if check.kind is Kind.REQUIRES else State.NOT_APPLICABLE
        for name, check in task.checks.items()
    }
    everything = dict.fromkeys(task.checks, State.PASSED)
    controls = [Control(name="no-op", make=no_op, expected=nothing)]
    if task.seed.is_dir():
        alone = partial(seed_only, task)
        controls.append(
            Control(name="no-op: the seed alone", make=alone, expected=nothing)
        )
    solve = partial(reference_solution, task)
    controls.append(Control(name="reference solution", make=solve, expected=everything))
    for wrong in task.wrong:
        expected = {
            **everything,
            **dict.fromkeys((wrong.fails, *wrong.also_fails), State.FAILED),
            **dict.fromkeys(wrong.not_judged, State.NOT_APPLICABLE),
        }
        mutate = partial(mutated_solution, task, wrong)
        controls.append(
            Control(name=f"wrong: {wrong.why}", make=mutate, expected=expected)
        )
    return tuple(controls)


def task_check(flags: TaskCheckFlags) -> None:
    """Judge the given workspace or folder of cases; without either, all controls."""
    if flags.cases:
        if flags.workspace or flags.trajectory:
            raise MeasureError("--cases: give it without --workspace and --trajectory")
        judge_cases(Path(flags.cases), flags.task, jobs=flags.jobs, as_json=flags.json)
    elif flags.workspace:
        if not flags.task:
            raise MeasureError("--workspace: also give the --task that it belongs to")
        judge_workspace(
            flags.task,
            flags.workspace,
            trajectory=flags.trajectory,
            as_json=flags.json,
        )
    elif flags.trajectory:
        raise MeasureError("--trajectory: also give the --workspace that it belongs to")
    else:
        check_controls(flags.task, as_json=flags.json)


def check_controls(task_id: str = "", *, as_json: bool = False) -> None:
    """Judge every control and print a table; ControlError where one has a mismatch."""
    tasks = [load_task(name) for name in ([task_id] if task_id else task_ids())]
    results = [each for task in tasks for each in _judge_controls(task)]
    print(_controls_json(results) if as_json else markdown(table(results)), end="")
    require_no_mismatch(results)


def require_no_mismatch(results: Sequence[ControlResult]) -> None:
    broken = [
        f"{each.task.id}, {each.control.name}: {line}"
        for each in results
        for line in each.mismatches
    ]
    if broken:
        raise ControlError("\n".join(["a control is broken:", *broken]))


def _judge_controls(task: Task) -> Iterator[ControlResult]:
    controls = controls_of(task)
    with (
        scratch_folder("controls") as aside,
        ExecutionEnvironments.opened(fetch=False) as executions,
        executions.for_task(task) as execution,
        meter(task.id, total=len(controls)) as progress,
    ):
        for number, each in enumerate(controls):
            folder = aside / f"control-{number}"
            folder.mkdir()
            yield judge_control(task, each, execution, folder)
            progress.advance(note=each.name)


def judge_control(
    task: Task, known: Control, execution: ExecutionEnvironment, folder: Path
) -> ControlResult:
    work = known.make(folder)
    judgement = judge(
        task, work.workspace, transcript=work.transcript, execution=execution
    )
    return ControlResult(task=task, control=known, judgement=judgement)


def table(results: Sequence[ControlResult]) -> Table:
    """One row per control: the checks that failed, and whether those should fail."""
    rows = tuple(
        (
            each.task.id,
            each.control.name,
            each.judgement.verdict,
            ", ".join(finding.check for finding in each.judgement.failed) or "–",
            "BROKEN" if each.mismatches else "ok",
        )
        for each in results
    )
    header = ("task", "control", "verdict", "checks that failed", "as expected")
    return Table(caption="Checks on known work", columns=header, rows=rows)


def _controls_json(results: Sequence[ControlResult]) -> str:
    document = [
        {
            "task": each.task.id,
            "control": each.control.name,
            "verdict": each.judgement.verdict,
            "failed": [finding.check for finding in each.judgement.failed],
            "mismatches": each.mismatches,
        }
        for each in results
    ]
    return f"{json_text(document)}\n"


def judge_workspace(
    task_id: str, workspace: str, *, trajectory: str = "", as_json: bool = False
) -> None:
    """Judge a workspace and print the findings; WorkError where a check failed."""
    task = load_task(task_id)
    with (
        ExecutionEnvironments.opened(fetch=False) as executions,
        executions.for_task(task) as execution,
    ):
        judgement = judge(
            task,
            Path(workspace),
            transcript=Path(trajectory) if trajectory else None,
            execution=execution,
        )
    print(_as_json(task, judgement) if as_json else _as_text(judgement), end="")
    if judgement.failed:
        names = ", ".join(finding.check for finding in judgement.failed)
        raise WorkError(f"{task_id}: failed: {names}")


def _as_json(task: Task, judgement: Judgement) -> str:
    document = {
        "task": judgement.task,
        "verdict": judgement.verdict,
        "findings": [
            {
                "check": finding.check,
                "kind": task.checks[finding.check].kind,
                "needs": task.checks[finding.check].needs,
                "state": finding.state,
                "reason": finding.reason,
            }
            for finding in judgement.findings
        ],
    }
    return f"{json_text(document)}\n"


def _as_text(judgement: Judgement) -> str:
    rows = tuple(
        (f.check, f.state, f.reason.split("\n")[0]) for f in judgement.findings
    )
    header = ("check", "state", "reason")
    caption = f"{judgement.task}: {judgement.verdict}"
    return markdown(Table(caption=caption, columns=header, rows=rows))
