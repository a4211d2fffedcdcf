"""Checks that need no run of the work: what its trajectory alone decides."""

from pathlib import Path

import pytest
from tests.trials.checks.made import event

from llamatrix.trials.checks.check import Answer, context7_called
from llamatrix.trials.checks.evidence import Case, Evidence, Plan
from llamatrix.trials.checks.execution_environment import ExecutionEnvironment
from llamatrix.trials.checks.finding import State
from llamatrix.trials.checks.task import load_task


def answer(folder: Path, task: str, *lines: str) -> Answer:
    log = folder / "log"
    log.write_text("\n".join(lines))
    case = Case(
        task=load_task(task),
        workspace=str(folder),
        transcript=str(log),
        execution=ExecutionEnvironment(),
        checks=(),
    )
    return context7_called(Evidence(case, Plan(script={}, suite=())))


def docs_of(library: str, name: str = "libraryId", **more: object) -> str:
    return event("context7_query-docs", {name: library, **more}, "# A page")


@pytest.mark.parametrize(
    ("task", "library"),
    [
        ("httpx-post", "/encode/httpx"),
        ("httpx-post", " /Encode/HTTPX/0.28.1"),
        ("httpx-post", "/encode/httpx@0.28.1"),
        ("httpx-post", "/websites/python-httpx_org"),
        ("gemini-images", "/googleapis/python-genai"),
        ("gemini-images", "/googleapis/python-genai/v1.50"),
        ("gemini-images", "/websites/ai_google_dev_gemini-api"),
        ("gemini-images", "/websites/ai_google_dev"),
        ("gemini-images", "/google-gemini/cookbook"),
        ("gemini-images", "/google/generative-ai-docs"),
    ],
)
@pytest.mark.parametrize("name", ["libraryId", "context7CompatibleLibraryID"])
def test_documentation_of_the_tasks_library_passes(
    tmp_path: Path, task: str, library: str, name: str
) -> None:
    lines = [docs_of("/pytest-dev/pytest"), docs_of(library, name, tokens=5000)]
    assert answer(tmp_path, task, *lines).state is State.PASSED


@pytest.mark.parametrize("task", ["httpx-post", "gemini-images"])
@pytest.mark.parametrize(
    "library",
    [
        "/pytest-dev/pytest",
        "/pytest-dev/pytest/httpx",
        "/pytest-dev/pytest@python-httpx-genai",
        "/colin-b/pytest_httpx",
        "/frankie567/httpx-oauth",
    ],
)
def test_documentation_of_another_library_fails(
    tmp_path: Path, task: str, library: str
) -> None:
    line = docs_of(library, query="httpx, python-httpx, genai and gemini")
    given = answer(tmp_path, task, line)
    assert given.state is State.FAILED
    assert "Only the documentation of other libraries was read: /" in given.reason


def test_look_up_whose_arguments_were_not_kept_passes(tmp_path: Path) -> None:
    line = event("context7_get-library-docs", {}, "# A page")
    assert answer(tmp_path, "httpx-post", line).state is State.PASSED
