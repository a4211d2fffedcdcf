"""Prompt 1: a script that prints a post's title, and a real test of it."""

from llamatrix.measure.judging.check import (
    Answer,
    Evidence,
    answer,
    context7_called,
    dependencies_declared,
    failed,
    no_mocks,
    passed,
    tests_ask,
    tests_pass,
)
from llamatrix.measure.judging.uv_run import asked


def prints_title(evidence: Evidence) -> Answer:
    if not evidence.scripts:
        return failed("There is no script.")
    for ran in evidence.script_runs:
        if evidence.printed(ran):
            return passed(f"`{' '.join(ran.words)}` prints it.")
    return failed(f"No script prints it. {evidence.script_runs[-1].trouble}")


def hits_real_api(evidence: Evidence) -> Answer:
    if not evidence.scripts:
        return failed("There is no script.")
    if evidence.counts_requests and not any(
        asked(ran.requests, evidence.task.service) for ran in evidence.script_runs
    ):
        return failed("The script ran, but the API was not asked.")
    return tests_ask(evidence, "httpx")


answer(
    {
        "prints-title": prints_title,
        "tests-pass": tests_pass,
        "hits-real-api": hits_real_api,
        "no-mocks": no_mocks,
        "context7-called": context7_called,
        "dependencies-declared": dependencies_declared,
    }
)
