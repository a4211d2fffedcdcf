"""Reading OpenCode's event log as tool calls."""

from pathlib import Path

import pytest
from tests.trials.checks.made import bash, event, write

from llamatrix.trials.checks.transcript import looked_up_docs, read_transcript

DOCS = {"libraryId": "/encode/httpx", "query": "get"}


def test_calls_come_in_order_with_what_the_checks_need(tmp_path: Path) -> None:
    log = tmp_path / "log"
    lines = [
        write("a.py", "x = 1"),
        bash("pytest", "1 passed", 3),
        event("edit", {"filePath": "a.py", "oldString": "1", "newString": "2"}),
        '{"type":"step_finish","part":{"type":"step-finish","reason":"stop"}}',
        '{"type":"tool_use","part":{"tool":"bash","sta',
    ]
    log.write_text("\n".join(lines))
    first, second, third = read_transcript(log)
    assert (first.tool, first.path, first.content) == ("write", "a.py", "x = 1")
    assert (second.command, second.exit_code, second.output) == (
        "pytest",
        3,
        "1 passed",
    )
    assert (third.old, third.new) == ("1", "2")


def test_a_text_may_hold_line_ends_that_are_not_ours(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(bash("pytest", "1 \\u2028 passed", 0).replace("\\\\u2028", "\u2028"))
    (call,) = read_transcript(log)
    assert call.output == "1 \u2028 passed"


def test_malformed_arguments_of_a_model_are_a_call_without_any(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(event("bash", {"command": 7}) + "\n" + event("bash", "text"))
    assert [call.command for call in read_transcript(log)] == ["", ""]


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        (event("context7_query-docs", DOCS, "### Get\nhttpx.get(url)"), "docs"),
        (event("context7_get-library-docs", DOCS, "httpx.get(url)"), "docs"),
        (event("context7_query-docs", DOCS, "Error fetching: fetch failed"), "none"),
        (event("context7_query-docs", DOCS, " "), "none"),
        (event("context7_query-docs", DOCS, "late", status="error"), "none"),
        (event("context7_resolve-library-id", DOCS, "found it"), "none"),
        (event("invalid", DOCS, "no such tool"), "none"),
    ],
)
def test_documentation_is_looked_up_only_where_some_came(
    tmp_path: Path, line: str, answer: str
) -> None:
    log = tmp_path / "log"
    log.write_text(line)
    (call,) = read_transcript(log)
    assert looked_up_docs(call) is (answer == "docs")
