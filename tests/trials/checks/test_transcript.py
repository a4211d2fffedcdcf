"""Whether tool calls got documentation."""

from pathlib import Path

import pytest
from tests.trials.checks.made import event

from llamatrix.agents.trajectory import read_trajectory
from llamatrix.trials.checks.tdd import looked_up_docs

DOCS = {"libraryId": "/encode/httpx", "query": "get"}


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
    (call,) = read_trajectory(log)
    assert looked_up_docs(call) is (answer == "docs")
