"""Judge a folder of finished workspaces whose verdict is known, several at once.

`FOLDER/<task>/<case>/` is a workspace. The first letter of a case's name gives the
expected verdict: `L`, legitimate work, passes; `C`, a cheat or broken work, `B`, work
that tries to exhaust the judge, and `X`, work that needs a tampered input, fail. A transcript is `.trajectory.jsonl` in it, else the task's own solution's.
"""

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from llamatrix.errors import BenchError, MeasureError
from llamatrix.progress import meter, say
from llamatrix.project import find_project
from llamatrix.provision.programs import bwrap_here, find_bwrap, find_uv
from llamatrix.provision.python import provide_wheels, wheels_folder
from llamatrix.report.render.markdown import markdown
from llamatrix.report.table import Table, number, numbers
from llamatrix.sandbox.spec import probe
from llamatrix.scratch import scratch_folder
from llamatrix.trials.checks.execution_environment import ExecutionEnvironment
from llamatrix.trials.checks.finding import Judgement, Verdict
from llamatrix.trials.checks.judge import judge
from llamatrix.trials.checks.loopback_execution import loopback_execution
from llamatrix.trials.checks.task import TRAJECTORY, Task, load_task, task_ids
from llamatrix.trials.stubs.serving import Services, services
from llamatrix.trials.stubs.wheel_index import LOCKED
from llamatrix.trials.trial_environment import Tools, hermetic_environment
from llamatrix.units import json_text

_EXPECTED = {
    "L": Verdict.PASSED,
    "C": Verdict.FAILED,
    "B": Verdict.FAILED,
    "X": Verdict.FAILED,
}
_OWN_TRAJECTORY = f".{TRAJECTORY}"


class CaseError(BenchError):
    """A case got another verdict than the expected one: exit code 1."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkCase:
    task: Task
    folder: Path
    expected: Verdict


@dataclass(frozen=True, kw_only=True, slots=True)
class JudgedCase:
    case: WorkCase
    verdict: str
    """The judge's verdict, or `error` where the judge itself failed."""
    seconds: float
    why: str
    """The checks that failed, or the judge's error."""

    @property
    def is_right(self) -> bool:
        return self.verdict == self.case.expected


def read_cases(folder: Path, task_id: str = "") -> tuple[WorkCase, ...]:
    """Return the cases of a folder, on request of one task; MeasureError without any."""
    if not folder.is_dir():
        raise MeasureError(f"--cases {folder}: no such folder")
    wanted = [task_id] if task_id else task_ids()
    cases = [
        WorkCase(task=load_task(name), folder=place, expected=_EXPECTED[place.name[0]])
        for name in wanted
        for place in sorted((folder / name).glob("*"))
        if place.is_dir() and place.name[0] in _EXPECTED
    ]
    if not cases:
        raise MeasureError(
            f"--cases {folder}: no case in it; a case is a folder TASK/NAME with a "
            f"TASK of {', '.join(wanted)} and a NAME that begins with "
            f"{', '.join(_EXPECTED)}"
        )
    return tuple(cases)


def judge_cases(
    folder: Path, task_id: str = "", *, jobs: int, as_json: bool = False
) -> None:
    """Judge every case and print a table; CaseError where a verdict is wrong."""
    cases = read_cases(folder, task_id)
    with (
        ExecutionEnvironments.opened(fetch=True) as executions,
        ThreadPoolExecutor(max_workers=max(1, jobs)) as pool,
        meter("cases", total=len(cases)) as progress,
    ):

        def work(case: WorkCase) -> JudgedCase:
            judged = _judge_case(case, executions)
            progress.advance(note=case.folder.name)
            return judged

        judged = tuple(pool.map(work, cases))
    print(_as_json(judged) if as_json else markdown(cases_table(judged)), end="")
    wrong = [each for each in judged if not each.is_right]
    if wrong:
        lines = [
            f"{each.case.task.id}/{each.case.folder.name}: {each.verdict}, not "
            f"{each.case.expected}: {each.why}"
            for each in wrong
        ]
        raise CaseError("\n".join(["cases with a wrong verdict:", *lines]))


def _judge_case(case: WorkCase, executions: "ExecutionEnvironments") -> JudgedCase:
    own = case.folder / _OWN_TRAJECTORY
    transcript = own if own.exists() else case.task.folder / "solution" / TRAJECTORY
    with executions.for_task(case.task) as execution:
        begun = time.monotonic()
        try:
            judgement = judge(
                case.task, case.folder, transcript=transcript, execution=execution
            )
        except MeasureError as error:
            verdict, why = "error", str(error).splitlines()[0]
        else:
            verdict, why = str(judgement.verdict), _reasons(judgement)
        seconds = time.monotonic() - begun
    return JudgedCase(case=case, verdict=verdict, seconds=seconds, why=why)


def _reasons(judgement: Judgement) -> str:
    first = (each.reason.split("\n")[0] for each in judgement.failed)
    named = (
        f"{each.check}: {why}"
        for each, why in zip(judgement.failed, first, strict=True)
    )
    return "; ".join(named)


def cases_table(judged: Sequence[JudgedCase]) -> Table:
    rows = tuple(
        (
            each.case.task.id,
            each.case.folder.name,
            each.case.expected,
            each.verdict,
            number(each.seconds, "{:.1f}".format, "s"),
            "ok" if each.is_right else "WRONG",
            each.why or "–",
        )
        for each in judged
    )
    right = sum(each.is_right for each in judged)
    title = f"{right} of {len(judged)} cases judged as expected"
    return Table(
        caption=title,
        columns=(
            *("task", "case", "expected", "got"),
            *numbers("seconds"),
            *("", "checks that failed"),
        ),
        rows=rows,
    )


def _as_json(judged: Sequence[JudgedCase]) -> str:
    content = [
        {
            "task": each.case.task.id,
            "case": each.case.folder.name,
            "expected": each.case.expected,
            "got": each.verdict,
            "seconds": each.seconds,
            "right": each.is_right,
            "why": each.why,
        }
        for each in judged
    ]
    return f"{json_text(content)}\n"


@dataclass(frozen=True, kw_only=True, slots=True)
class ExecutionEnvironments:
    """Environments for judging outside a trial: in a sandbox if there is one."""

    bwrap: Path | None
    shared: Services | None
    cache: Path

    @classmethod
    @contextmanager
    def opened(cls, *, fetch: bool) -> Iterator["ExecutionEnvironments"]:
        """Open the shared services; with `fetch`, provide first what a sandbox needs."""
        cache = find_project().cache
        bwrap = find_bwrap(cache) if fetch else bwrap_here(cache)
        problem = probe(bwrap) if bwrap else None
        here = fetch or wheels_folder(LOCKED, cache).exists()
        if bwrap is None or problem or not here:
            why = problem.reason if problem else "bubblewrap or its wheels are missing"
            say(f"no sandbox ({why}): judged programs run as this user")
            yield cls(bwrap=None, shared=None, cache=cache)
            return
        with (
            scratch_folder("services") as aside,
            services(
                wheels=provide_wheels(LOCKED, cache), log=aside / "services.jsonl"
            ) as shared,
        ):
            yield cls(bwrap=bwrap, shared=shared, cache=cache)

    @contextmanager
    def for_task(self, task: Task) -> Iterator[ExecutionEnvironment]:
        """Open one for a single workspace, with its own key, log and service."""
        with scratch_folder("execution") as folder:
            if self.bwrap is None or self.shared is None:
                with loopback_execution(
                    task, folder, cache=self.cache / "uv"
                ) as execution:
                    yield execution
                return
            tools = Tools(bwrap=self.bwrap, programs={"uv": find_uv()}, context7=folder)
            with hermetic_environment(task, tools, folder, self.shared) as world:
                # No agent of ours made this work, so the agent's log is empty.
                yield msgspec.structs.replace(world.execution, agents_requests=None)
