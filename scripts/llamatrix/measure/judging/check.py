"""The side of a check that runs in its own process: what `check.py` is written with.

`check.py CASE ANSWERS` reads a `Case`, looks at a copy of the workspace and writes
one finding to a line. It never imports the agent's code; it runs it, on the case's ground.
"""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import msgspec
from msgspec import Struct

from llamatrix.measure.judging.finding import Finding, State
from llamatrix.measure.judging.ground import Ground
from llamatrix.measure.judging.mocks import mocks
from llamatrix.measure.judging.packages import (
    declared,
    entry_points,
    normal,
    third_party,
)
from llamatrix.measure.judging.sources import Source, read_sources, uses
from llamatrix.measure.judging.task import Task
from llamatrix.measure.judging.transcript import (
    ToolCall,
    looked_up_docs,
    read_transcript,
)
from llamatrix.measure.judging.uv_run import CannotJudgeError, Ran, Tests, Uv, asked


class Case(Struct, frozen=True, kw_only=True):
    task: Task
    workspace: str
    """A copy, free to be changed."""
    transcript: str | None
    ground: Ground
    checks: tuple[str, ...]
    """Those to answer."""


class Answer(Struct, frozen=True):
    state: State
    reason: str


def passed(reason: str) -> Answer:
    return Answer(State.PASSED, reason)


def failed(reason: str) -> Answer:
    return Answer(State.FAILED, reason)


def not_applicable(reason: str) -> Answer:
    return Answer(State.NOT_APPLICABLE, reason)


@dataclass(frozen=True)
class Evidence:
    """What there is to look at; each thing is read or run once, when first asked for."""

    case: Case

    @property
    def task(self) -> Task:
        return self.case.task

    @property
    def folder(self) -> Path:
        return Path(self.case.workspace)

    @property
    def counts_requests(self) -> bool:
        """Whether the service is a stand-in with a log."""
        return self.case.ground.requests is not None

    @cached_property
    def sources(self) -> tuple[Source, ...]:
        return read_sources(self.folder)

    @property
    def scripts(self) -> tuple[Source, ...]:
        return tuple(each for each in self.sources if not each.is_test)

    @property
    def test_files(self) -> tuple[Source, ...]:
        return tuple(
            each for each in self.sources if each.is_test and not each.is_conftest
        )

    @cached_property
    def calls(self) -> tuple[ToolCall, ...] | None:
        """The trajectory's tool calls; None where none was given."""
        path = self.case.transcript
        return read_transcript(Path(path)) if path is not None else None

    @cached_property
    def uv(self) -> Uv:
        return Uv(
            workspace=self.folder,
            ground=self.case.ground,
            timeout_s=self.task.limits.program_s,
        )

    @cached_property
    def packages(self) -> tuple[str, ...]:
        """What may be put beside the code: packages the task knows, and pytest.

        Never just what is imported: a module's misspelt name may be a package too.
        """
        known = {normal(name) for name in self.task.packages.values()}
        used = third_party(self.sources, self.task.packages)
        return tuple(sorted({*known.intersection(used), "pytest"}))

    @cached_property
    def script_runs(self) -> tuple[Ran, ...]:
        """Each script run, until one prints what the task expects."""
        runs: list[Ran] = []
        for name in entry_points(self.folder):
            runs.append(self.uv.run(name))
            if self.printed(runs[-1]):
                return tuple(runs)
        for script in self.scripts:
            for ran in self.uv.script(script.name, self.packages):
                runs.append(ran)
                if self.printed(ran):
                    return tuple(runs)
                if ran.ended.ok:
                    break
        return tuple(runs)

    def printed(self, ran: Ran) -> bool:
        return self.task.expect["printed"] in " ".join(ran.out.split())

    @cached_property
    def tests(self) -> Tests:
        return self.uv.tests(
            tuple(each.name for each in self.test_files), self.packages
        )


def tests_pass(evidence: Evidence) -> Answer:
    if not evidence.test_files:
        return failed("There is no file with a test function in it.")
    tests = evidence.tests
    if tests.good:
        return passed(f"{tests.passed} passed under `{' '.join(tests.ran.words[:3])}`.")
    if tests.ran.ended.ok and not tests.passed:
        return failed(f"No test ran to its end: {tests.skipped} skipped.")
    return failed(f"{tests.failed} failed, {tests.passed} passed. {tests.ran.trouble}")


def tests_ask(evidence: Evidence, module: str) -> Answer:
    """By the stand-in's log where there is one, else by what the code imports."""
    if not evidence.test_files:
        return failed("There is no file with a test function in it.")
    if evidence.counts_requests:
        count = len(asked(evidence.tests.ran.requests, evidence.task.service))
        if count:
            return passed(f"The service answered {count} requests of the tests.")
        return failed("The tests ran, but the API was not asked.")
    if not uses(evidence.sources, module):
        return failed(f"No file imports {module}.")
    names = {Path(each.name).stem for each in evidence.scripts if uses([each], module)}
    for each in evidence.test_files:
        if uses([each], module) or any(uses([each], name) for name in names):
            return passed(f"{each.name} leads to {module}.")
    return failed(f"No test leads to code that imports {module}.")


def no_mocks(evidence: Evidence) -> Answer:
    if not evidence.sources:
        return not_applicable("There is no code to look at.")
    modules = {Path(each.name).stem for each in evidence.sources}
    found = mocks(evidence.sources, {*modules, *evidence.task.packages})
    return failed("; ".join(found) + ".") if found else passed("No mock found.")


def context7_called(evidence: Evidence) -> Answer:
    calls = evidence.calls or ()
    if any(looked_up_docs(call) for call in calls):
        return passed("Documentation was read.")
    if any("context7" in call.tool for call in calls):
        return failed("Context7 was called, but gave no documentation.")
    return failed("Context7 was never called.")


def dependencies_declared(evidence: Evidence) -> Answer:
    if not evidence.sources:
        return failed("There is no Python code.")
    commands = [call.command for call in evidence.calls or ()]
    used = third_party(evidence.sources, evidence.task.packages)
    missing = sorted({*used} - declared(evidence.folder, commands))
    if not missing:
        return passed(f"All of {', '.join(used) or 'none'} are declared.")
    if evidence.calls is None:
        return not_applicable(
            f"{', '.join(missing)}: in no file; a command line may have named them, "
            "which only the trajectory tells."
        )
    return failed(
        f"Imported, but declared neither in a file nor by `uv run --with`: "
        f"{', '.join(missing)}."
    )


def answer(checks: Mapping[str, Callable[[Evidence], Answer]]) -> None:
    """Answer the case named on the command line."""
    case_file, answers_file = (Path(word) for word in sys.argv[1:])
    case = msgspec.json.decode(case_file.read_bytes(), type=Case)
    evidence = Evidence(case)
    for name in case.checks:
        finding = _ask(name, checks[name], evidence)
        with answers_file.open("ab") as answers:
            answers.write(msgspec.json.encode(finding) + b"\n")


def _ask(name: str, check: Callable[[Evidence], Answer], evidence: Evidence) -> Finding:
    try:
        said = check(evidence)
    except CannotJudgeError as error:
        said = not_applicable(str(error))
    except RecursionError:
        said = failed("The code is nested too deeply to be read.")
    return Finding(check=name, state=said.state, reason=said.reason)
