"""Prompt 1: a script that prints a post's title, and a real test of it."""

from llamatrix.trials.checks.check import (
    Answer,
    answer,
    context7_called,
    dependencies_declared,
    failed,
    no_mocks,
    passed,
    shadowing,
    tests_ask,
    tests_can_fail,
    tests_pass,
)
from llamatrix.trials.checks.evidence import Case, Evidence, Plan
from llamatrix.trials.checks.session import Ran
from llamatrix.trials.stubs.request_log import Request
from llamatrix.trials.stubs.world import World

HTTPX_HEADERS = ("accept", "accept-encoding", "connection", "user-agent")


def plan(case: Case) -> Plan:
    return Plan(
        script={World.REAL: case.task.expect["printed"], World.OTHER: ""},
        suite=(World.REAL, World.OTHER, World.FAILING),
        doubts=(World.OTHER, World.EMPTY, World.NULL),
        arguments=case.task.arguments,
    )


def prints(evidence: Evidence, ran: Ran | None, world: World) -> bool:
    text = evidence.expected(world)
    return ran is not None and text in " ".join(ran.out.split())


def prints_title(evidence: Evidence) -> Answer:
    if not evidence.scripts:
        return failed("There is no script.")
    real = evidence.script_run(World.REAL)
    if real is None:
        return failed("The script killed the program that runs it.")
    if not prints(evidence, real, World.REAL):
        return failed(f"No script prints the title. {real.trouble}")
    other = evidence.script_run(World.OTHER)
    if other is None and evidence.case.execution.switch:
        return failed("With another title at the service the script did not run.")
    if other is None or prints(evidence, other, World.OTHER):
        return passed(f"`{real.command}` prints the title.")
    return failed(
        "With another title at the service the script does not print that one: "
        f"{other.trouble}"
    )


def sent_by_httpx(request: Request) -> bool:
    """Decide by the names and order of the headers, which differ between clients."""
    names = [name for name in request.headers.split() if name in HTTPX_HEADERS]
    return tuple(names) == HTTPX_HEADERS


def hits_real_api(evidence: Evidence) -> Answer:
    if not evidence.scripts:
        return failed("There is no script.")
    if module := shadowing(evidence):
        return failed(f"{module} replaces the package of that name.")
    if evidence.counts_requests:
        for world in (World.REAL, World.OTHER):
            ran = evidence.script_run(world)
            if ran is None and world is World.OTHER:
                continue  # prints-title has failed in the real world
            requests = evidence.answered(ran) if ran else ()
            if not requests:
                return failed("The script ran, but sent no successful request to the API.")
            if not any(map(sent_by_httpx, requests)):
                return failed("The script sent requests to the API, but not with httpx.")
    return tests_ask(evidence, "httpx")


answer(
    {
        "prints-title": prints_title,
        "tests-pass": tests_pass,
        "hits-real-api": hits_real_api,
        "tests-can-fail": tests_can_fail,
        "no-mocks": no_mocks,
        "context7-called": context7_called,
        "dependencies-declared": dependencies_declared,
    },
    plan,
)
