"""What a task's `check.py` is written with; it runs in a process of its own.

`check.py CASE ANSWERS` reads a `Case`, looks at a copy of the workspace and writes one
finding per line. It never imports the agent's code; it runs it, in the case's
execution environment.
"""

import re
import resource
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgspec
from msgspec import Struct

from llamatrix.agents.protocol import LookUp
from llamatrix.agents.trajectory import requested_library
from llamatrix.trials.checks.evidence import Case, Evidence, Plan, decode_case
from llamatrix.trials.checks.finding import Finding, State
from llamatrix.trials.checks.packages import declared, third_party
from llamatrix.trials.checks.quality import HTTP_VERBS
from llamatrix.trials.checks.session import CannotJudgeError
from llamatrix.trials.checks.sources import mocks, uses
from llamatrix.trials.checks.suite import Suite, asserts
from llamatrix.trials.checks.tdd import looked_up_docs
from llamatrix.trials.stubs.world import World

_MEMORY_BYTES = 3 << 30
_FRAMES = 3
_MESSAGE_CHARACTERS = 200
NO_TESTS = "There is no file with a test function in it."
_LONGEST_NAME = 80


class Answer(Struct, frozen=True):
    state: State
    reason: str


def passed(reason: str) -> Answer:
    return Answer(State.PASSED, reason)


def failed(reason: str) -> Answer:
    return Answer(State.FAILED, reason)


def not_applicable(reason: str) -> Answer:
    return Answer(State.NOT_APPLICABLE, reason)


def tests_pass(evidence: Evidence) -> Answer:
    if not evidence.test_files:
        return failed(NO_TESTS)
    suite = evidence.suite(World.REAL)
    if suite is None:
        return failed("The programs ended the run before pytest had finished.")
    if suite.good:
        return passed(f"{len(suite.passed)} passed under `uv run`.")
    counts = f"{len(suite.failed)} failed, {len(suite.passed)} passed."
    if suite.problems:
        return failed(f"{counts} {'; '.join(suite.problems)}.")
    return failed(f"{counts} {suite.ran.trouble}")


def tests_ask(evidence: Evidence, module: str) -> Answer:
    """Decide by the stub's log if there is one, else by the code's imports."""
    if not evidence.test_files:
        return failed(NO_TESTS)
    if evidence.counts_requests:
        suite = evidence.suite(World.REAL)
        count = len(evidence.answered(suite.ran)) if suite else 0
        if count:
            return passed(f"The service answered {count} requests from the tests.")
        return failed("The tests ran, but sent no successful request to the API.")
    if not uses(evidence.sources, module):
        return failed(f"No file imports {module}.")
    names = {Path(each.name).stem for each in evidence.scripts if uses([each], module)}
    for each in evidence.test_files:
        if uses([each], module) or any(uses([each], name) for name in names):
            return passed(f"{each.name} uses {module}.")
    return failed(f"No test uses code that imports {module}.")


def tests_can_fail(evidence: Evidence) -> Answer:  # noqa: PLR0911  one per reason
    """Whether the tests notice a failing service, and assert something it answers."""
    if not evidence.test_files:
        return failed(NO_TESTS)
    real = evidence.suite(World.REAL)
    if real is None or not real.good:
        return not_applicable("The tests do not pass, so they are not run again.")
    failing = evidence.suite(World.FAILING)
    if failing is None:
        if not evidence.case.execution.switch:
            return _asserted_by_text(evidence, real.passed)
        return failed(
            "With the service failing, the tests kill the program that runs them."
        )
    if not evidence.answered(real.ran):
        return not_applicable("The tests send no request to the API.")
    noticed = set(real.passed) - set(failing.passed) - set(failing.skipped)
    if not noticed and failing.end is not None and not failing.end.errors:
        return failed(
            "With the service answering 500 to every request, all tests still pass."
        )
    return _asserted(evidence, failing, tuple(noticed) or real.passed)


def _asserted(evidence: Evidence, failing: Suite, noticed: tuple[str, ...]) -> Answer:
    """Decide by how tests fail in the worlds of the plan, else by their text."""
    if failing.asserted:
        return passed("The tests fail when the service fails.")
    for world in evidence.plan.doubts:
        suite = evidence.suite(world)
        if suite is not None and suite.asserted:
            return passed("The tests fail when the service answers something else.")
    if not evidence.plan.doubts:
        return _asserted_by_text(evidence, noticed)
    return failed(
        "The tests assert nothing about the service's answers: with other, empty or "
        "missing content in them, no test fails on an assertion."
    )


def _asserted_by_text(evidence: Evidence, names: tuple[str, ...]) -> Answer:
    for source in evidence.test_files:
        own = [name for name in names if name.startswith(f"{source.name}::")]
        if asserts(source, own, evidence.sources):
            return passed("The tests assert something and notice a failing service.")
    return failed("The tests assert nothing about the service's answers.")


def no_mocks(evidence: Evidence) -> Answer:
    if not evidence.sources:
        return not_applicable("There is no code to look at.")
    every = evidence.every_source
    modules = {Path(each.name).stem for each in every}
    findings = [*mocks(every, {*modules, *evidence.task.packages})]
    findings += [
        f"{each.name} is too large to be read" for each in every if each.too_large
    ]
    suite = evidence.suite(World.REAL) if evidence.test_files else None
    if suite is not None and suite.end is not None:
        findings += [each for each in suite.end.replaced if _is_replacement(each)]
    return failed("; ".join(findings) + ".") if findings else passed("No mock found.")


def _is_replacement(observation: str) -> bool:
    """Whether what `run_tests.py` observed replaces the service.

    A script that calls back into a test replaces it only where it asks the service.
    """
    match = re.fullmatch(r"(.*):(\d+) calls (\S+) of a test", observation)
    names = (*HTTP_VERBS, "generate_content", "json")
    return match is None or match[3] in names


def shadowing(evidence: Evidence) -> str:
    """Return the workspace's file that shadows a package of the task, or an empty text."""
    heads = {name.split(".")[0] for name in evidence.task.packages}
    for each in evidence.every_source:
        path = Path(each.name)
        at = path.parent if path.name == "__init__.py" else path.with_suffix("")
        if at.name in heads and at.parent.name in (
            "",
            "src",
            "scripts",
            "lib",
            "tests",
        ):
            return each.name
    suite = evidence.suite(World.REAL) if evidence.test_files else None
    if suite is not None and suite.end is not None:
        for name, file in suite.end.modules.items():
            if file and "site-packages" not in file:
                return f"A local module {name}"
    return ""


def context7_called(evidence: Evidence) -> Answer:
    calls = evidence.calls or ()
    pattern = evidence.task.expect["library"]
    libraries = [requested_library(call) for call in calls if looked_up_docs(call)]
    for each in libraries:
        if not each or re.search(pattern, each, re.IGNORECASE):
            return passed("Documentation was looked up.")
    if libraries:
        named = ", ".join(dict.fromkeys(each[:_LONGEST_NAME] for each in libraries))
        return failed(f"Only the documentation of other libraries was read: {named}.")
    if any(isinstance(call.action, LookUp) for call in calls):
        return failed("Context7 was called, but returned no documentation.")
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
            f"{', '.join(missing)}: not declared in a file; a command line may have "
            "declared them, but there is no trajectory."
        )
    return failed(
        f"Imported, but not declared in a file or by `uv run --with`: "
        f"{', '.join(missing)}."
    )


def answer(
    checks: Mapping[str, Callable[[Evidence], Answer]], plan: Callable[[Case], Plan]
) -> None:
    """Answer the case that the command line names."""
    case_file, answers_file = (Path(word) for word in sys.argv[1:])
    case = decode_case(case_file.read_bytes())
    evidence = Evidence(case, plan(case))
    for name in case.checks:
        finding = _ask(name, checks[name], evidence)
        with answers_file.open("ab") as answers:
            answers.write(msgspec.json.encode(finding) + b"\n")


def _parse(evidence: Evidence) -> None:
    """Parse all sources, once, within a memory limit, before any program starts."""
    with limited_memory():
        for source in evidence.every_source:
            len(source.nodes)


@contextmanager
def limited_memory() -> Iterator[None]:
    """Limit the memory of this process, and of programs that it starts in the block."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    if soft == resource.RLIM_INFINITY or soft > _MEMORY_BYTES:
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _ask(name: str, check: Callable[[Evidence], Answer], evidence: Evidence) -> Finding:
    """Return what a check finds; an error of its own leaves it alone undecided."""
    try:
        _parse(evidence)
        result = check(evidence)
    except CannotJudgeError as error:
        result = not_applicable(str(error))
    except (RecursionError, MemoryError):
        result = failed("The code is nested too deeply or is too large to be parsed.")
    except Exception as error:  # noqa: BLE001  the work must not end its judging
        result = not_applicable(_own_failure(error))
    reason = result.reason.encode(errors="backslashreplace").decode()
    return Finding(check=name, state=result.state, reason=reason)


def _own_failure(error: Exception) -> str:
    """Return the type and the place of an error that a check did not expect."""
    frames = traceback.extract_tb(error.__traceback__)[-_FRAMES:]
    places = (f"{Path(each.filename).name} line {each.lineno}" for each in frames)
    message = str(error)[:_MESSAGE_CHARACTERS]
    return (
        f"The check itself failed: {type(error).__name__} in {', '.join(places)}: "
        f"{message}"
    )
