"""Proves the checks of the tasks on work whose verdict is known, or judges a workspace."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from llamatrix.commands.flags import TaskCheckFlags
from llamatrix.commands.task_cases import ExecutionEnvironments, judge_cases
from llamatrix.errors import BenchError, MeasureError
from llamatrix.progress import meter
from llamatrix.report.render.markdown import markdown
from llamatrix.report.table import Table
from llamatrix.scratch import scratch_folder
from llamatrix.trials.checks import control
from llamatrix.trials.checks.control import Work
from llamatrix.trials.checks.execution_environment import ExecutionEnvironment
from llamatrix.trials.checks.finding import Judgement, Kind, State
from llamatrix.trials.checks.judge import judge
from llamatrix.trials.checks.task import Task, load_task, task_ids


class ControlError(BenchError):
    """A check did not say of known work what it must: exit code 1."""


class WorkError(BenchError):
    """A check failed on a workspace: exit code 1."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Control:
    """Work whose findings are known, check by check."""

    name: str
    make: Callable[[Path], Work]
    expected: Mapping[str, State]


@dataclass(frozen=True, kw_only=True, slots=True)
class Held:
    """A control and what the checks said of it."""

    task: Task
    control: Control
    judgement: Judgement

    @property
    def astray(self) -> tuple[str, ...]:
        """What the checks said that they must not, with their reasons."""
        return tuple(
            f"{finding.check} is {finding.state}, not "
            f"{self.control.expected[finding.check]}: {finding.reason}"
            for finding in self.judgement.findings
            if finding.state is not self.control.expected[finding.check]
        )


def controls_of(task: Task) -> tuple[Control, ...]:
    return tuple(_controls(task))


def _controls(task: Task) -> Iterator[Control]:
    nothing = {
        name: State.FAILED if check.kind is Kind.REQUIRES else State.NOT_APPLICABLE
        for name, check in task.checks.items()
    }
    everything = dict.fromkeys(task.checks, State.PASSED)
    yield Control(name="nop", make=control.nothing_done, expected=nothing)
    if task.seed.is_dir():
        yield Control(
            name="nop: the seed as it was",
            make=lambda folder: control.untouched(task, folder),
            expected=nothing,
        )
    yield Control(
        name="oracle",
        make=lambda folder: control.oracle(task, folder),
        expected=everything,
    )
    for wrong in task.wrong:
        yield Control(
            name=f"wrong: {wrong.why}",
            make=lambda folder, wrong=wrong: control.spoilt(task, wrong, folder),  # type: ignore[misc]
            expected={
                **everything,
                **dict.fromkeys((wrong.fails, *wrong.also_fails), State.FAILED),
                **dict.fromkeys(wrong.not_judged, State.NOT_APPLICABLE),
            },
        )


def check(flags: TaskCheckFlags) -> None:
    """Judge a workspace or a folder of cases where one is given, else every control."""
    if flags.cases:
        if flags.workspace or flags.trajectory:
            raise MeasureError("--cases: give it without --workspace and --trajectory")
        judge_cases(Path(flags.cases), flags.task, jobs=flags.jobs, as_json=flags.json)
    elif flags.workspace:
        if not flags.task:
            raise MeasureError("--workspace: also say which --task it is work of")
        judge_workspace(
            flags.task,
            flags.workspace,
            trajectory=flags.trajectory,
            as_json=flags.json,
        )
    elif flags.trajectory:
        raise MeasureError("--trajectory: also say which --workspace it belongs to")
    else:
        check_controls(flags.task, as_json=flags.json)


def check_controls(task_id: str = "", *, as_json: bool = False) -> None:
    """Judge every control, print what was found; ControlError where one breaks."""
    tasks = [load_task(name) for name in ([task_id] if task_id else task_ids())]
    held = [each for task in tasks for each in _hold_all(task)]
    print(_controls_json(held) if as_json else markdown(table(held)), end="")
    require_whole(held)


def require_whole(held: Sequence[Held]) -> None:
    broken = [
        f"{each.task.id}, {each.control.name}: {line}"
        for each in held
        for line in each.astray
    ]
    if broken:
        raise ControlError("\n".join(["a control is broken:", *broken]))


def _hold_all(task: Task) -> Iterator[Held]:
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
            yield hold(task, each, execution, folder)
            progress.advance(note=each.name)


def hold(
    task: Task, known: Control, execution: ExecutionEnvironment, folder: Path
) -> Held:
    work = known.make(folder)
    found = judge(task, work.workspace, transcript=work.transcript, execution=execution)
    return Held(task=task, control=known, judgement=found)


def table(held: Sequence[Held]) -> Table:
    """One row for each control: what failed, and whether that is what must."""
    rows = tuple(
        (
            each.task.id,
            each.control.name,
            each.judgement.verdict,
            ", ".join(finding.check for finding in each.judgement.failed) or "–",
            "BROKEN" if each.astray else "ok",
        )
        for each in held
    )
    header = ("task", "control", "verdict", "checks that failed", "as it must be")
    return Table(caption="Checks held against known work", columns=header, rows=rows)


def _controls_json(held: Sequence[Held]) -> str:
    return _document(
        [
            {
                "task": each.task.id,
                "control": each.control.name,
                "verdict": each.judgement.verdict,
                "failed": [finding.check for finding in each.judgement.failed],
                "astray": each.astray,
            }
            for each in held
        ]
    )


def judge_workspace(
    task_id: str, workspace: str, *, trajectory: str = "", as_json: bool = False
) -> None:
    """Print what the checks say of somebody's workspace; WorkError where one failed."""
    task = load_task(task_id)
    with (
        ExecutionEnvironments.opened(fetch=False) as executions,
        executions.for_task(task) as execution,
    ):
        found = judge(
            task,
            Path(workspace),
            transcript=Path(trajectory) if trajectory else None,
            execution=execution,
        )
    print(_as_json(task, found) if as_json else _as_text(found), end="")
    if found.failed:
        names = ", ".join(finding.check for finding in found.failed)
        raise WorkError(f"{task_id}: failed: {names}")


def _as_json(task: Task, found: Judgement) -> str:
    return _document(
        {
            "task": found.task,
            "verdict": found.verdict,
            "findings": [
                {
                    "check": finding.check,
                    "kind": task.checks[finding.check].kind,
                    "needs": task.checks[finding.check].needs,
                    "state": finding.state,
                    "reason": finding.reason,
                }
                for finding in found.findings
            ],
        }
    )


def _document(content: object) -> str:
    text = msgspec.json.format(msgspec.json.encode(content), indent=2)
    return f"{text.decode()}\n"


def _as_text(found: Judgement) -> str:
    rows = tuple((f.check, f.state, f.reason.split("\n")[0]) for f in found.findings)
    header = ("check", "state", "reason")
    caption = f"{found.task}: {found.verdict}"
    return markdown(Table(caption=caption, columns=header, rows=rows))
