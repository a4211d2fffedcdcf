"""Red, green: which of the three steps the event log proves."""

from pathlib import Path

import pytest
from tests.trials.checks.made import bash, event, write

from llamatrix.agents.trajectory import read_trajectory
from llamatrix.trials.checks.tdd import looked_up_docs, tdd_order

TEST = write(
    "/trial/work/test_it.py", "from it import f\n\ndef test_f():\n    assert f()"
)
CODE = write("/trial/work/it.py", "def f():\n    return True")
STUB = write("it.py", "def f():\n    raise NotImplementedError")
MAIN = write("main.py", "def main():\n    print('hello')")
RED = bash("uv run pytest", "E ModuleNotFoundError\n1 error in 0.1s", 2)
RED_TAIL = bash("uv run pytest | tail -3", "1 failed, 1 passed in 0.1s", 0)
NO_PYTEST = bash("uv run pytest", "error: Failed to spawn: `pytest`", 2)
GREEN = bash("uv run python -m pytest -q", "1 passed in 0.1s")
HERE_TEST = bash(
    "cat > test_it.py <<'EOF'\ndef test_f():\n    from it import f\n    f()\nEOF", ""
)
HERE_CODE_AND_RUN = bash(
    "cat <<EOF > it.py\ndef f():\n    return 1\nEOF\nuv run pytest", "1 passed in 1s"
)
LOST_CODE = event(
    "write", {"filePath": "it.py", "content": "def f(): return 1"}, "no", status="error"
)
FILLED = event(
    "edit",
    {
        "filePath": "it.py",
        "oldString": "raise NotImplementedError",
        "newString": "return 1",
    },
)


@pytest.mark.parametrize(
    ("lines", "steps"),
    [
        ([TEST, RED, CODE, GREEN], (True, True, True)),
        ([TEST, RED_TAIL, CODE, GREEN], (True, True, True)),
        ([STUB, TEST, RED, FILLED, GREEN], (True, True, True)),
        ([HERE_TEST, RED, HERE_CODE_AND_RUN], (True, True, True)),
        ([TEST, LOST_CODE, RED, CODE, GREEN], (True, True, True)),
        ([TEST, CODE, RED, CODE, GREEN], (True, False, True)),
        ([TEST, CODE, GREEN], (True, False, True)),
        ([TEST, NO_PYTEST, CODE, GREEN], (True, False, True)),
        ([MAIN, TEST, RED, CODE, GREEN], (False, False, True)),
        ([CODE, TEST, RED, GREEN], (False, False, True)),
        ([TEST, RED, CODE], (True, True, False)),
        ([RED, TEST, CODE], (True, False, False)),
        ([CODE, GREEN], (False, False, False)),
        ([TEST, bash("echo 'pytest: 1 failed'", "pytest: 1 failed"), CODE, GREEN], (True, False, True)),
        ([TEST, bash("pytest --version; echo 1 failed", "1 failed", 1), CODE, GREEN], (True, False, True)),
        ([TEST, bash("pytest() { echo 1 failed; }; pytest", "1 failed", 1), CODE, GREEN], (True, False, True)),
        ([TEST, bash("python fake.py # pytest", "1 failed in 1s", 1), CODE, GREEN], (True, False, True)),
        ([TEST, bash("./pytest", "1 failed in 1s", 1), CODE, GREEN], (True, False, True)),
        ([TEST, bash("PATH=.:$PATH pytest", "1 failed in 1s", 1), CODE, GREEN], (True, False, True)),
        ([TEST, write("pytest.py", "print('1 failed')"), bash("python -m pytest", "1 failed", 1), CODE, GREEN], (True, False, False)),
        ([TEST, bash("uv run pytest", "1 failed", 0), CODE, GREEN], (True, False, True)),
        ([TEST, bash("cd /trial/work && uv run --with httpx pytest -q 2>&1 | tail -20", "1 failed in 1s", 0), CODE, GREEN], (True, True, True)),
        ([TEST, bash("timeout 60 uv run python -m pytest test_it.py", "1 error in 1s", 2), CODE, GREEN], (True, True, True)),
        ([], (False, False, False)),
    ],
)  # fmt: skip
def test_each_tdd_step_counts_only_where_it_happened(
    tmp_path: Path, lines: list[str], steps: tuple[bool, bool, bool]
) -> None:
    log = tmp_path / "log"
    log.write_text("\n".join(lines))
    order = tdd_order(read_trajectory(log))
    found = (order.test_first, order.failed_before, order.passed_after)
    assert found == steps
    assert order.followed is all(steps)


def test_a_here_document_is_read_in_linear_time(tmp_path: Path) -> None:
    """A pattern over the whole text takes hours for this one."""
    blank = "\n" * 400_000
    spaces = " " * 400_000
    path = tmp_path / "log.jsonl"
    path.write_text(
        "\n".join(
            [
                bash(f"cat > test_it.py <<EOF\ndef test_f(): f(){blank}EOF", ""),
                bash(f"cat > test_it.py <<EOF\n{blank}", ""),
                bash("cat <<" * 200_000, ""),
                bash(f"cat{spaces}<{spaces}", ""),
            ]
        )
    )
    assert tdd_order(read_trajectory(path)).test_first


def test_a_here_string_begins_no_document(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text(bash("cat <<<word\ncat > a.py <<END\nprint(1)\nEND\n", ""))
    assert not tdd_order(read_trajectory(path)).test_first


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
def test_lookup_counts_only_if_documentation_came_back(
    tmp_path: Path, line: str, answer: str
) -> None:
    log = tmp_path / "log"
    log.write_text(line)
    (call,) = read_trajectory(log)
    assert looked_up_docs(call) is (answer == "docs")
