"""Red, green: which of the three steps the event log proves."""

from pathlib import Path

import pytest
from tests.trials.checks.made import bash, event, write

from llamatrix.agents.trajectory import read_trajectory
from llamatrix.trials.checks.tdd import TddOrder, looked_up_docs, tdd_order

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


def order_of(folder: Path, *lines: str) -> TddOrder:
    log = folder / "log"
    log.write_text("\n".join(lines))
    return tdd_order(read_trajectory(log))


RETURNS = "def f(): return False"
PATCH = f"--- /dev/null\n+++ b/it.py\n@@ -0,0 +1 @@\n+{RETURNS}"
CODE_FIRST = [
    bash("mv draft.txt it.py", ""),
    bash("cp -f drafts/it.txt ./it.py", ""),
    bash("cp drafts/it.py .", ""),
    bash("mkdir -p src && sudo mv draft.txt src/it.py", ""),
    bash("git mv draft.txt it.py", ""),
    bash(f"echo '{RETURNS}' > it.py", ""),
    bash(f"echo '{RETURNS}' >it.py 2>&1; ls", ""),
    bash(f"cd app && printf '%s\\n' '{RETURNS}' >> it.py", ""),
    bash("printf 'def f():\\n    return %s\\n' 1 > it.py", ""),
    bash("echo 'def f():' > it.py; echo '    return 1' >> it.py", ""),
    bash("printf '# f\\ndef f():\\n    return 1\\n' > it.py", ""),
    bash(f"printf '{RETURNS}' | tee it.py", ""),
    bash("cat draft.txt | tee -a it.py > /dev/null", ""),
    bash("cat draft.txt > it.py", ""),
    bash(f"(echo '{RETURNS}') > it.py", ""),
    bash(f"{{ echo '{RETURNS}'; }} > it.py", ""),
    bash("base64 -d draft > it.py", ""),
    bash("uv run generate > it.py", ""),
    bash(f"cat <<EOF | tee it.py\n{RETURNS}\nEOF", ""),
    bash(f"cat > it.py <<'EOF-1'\n{RETURNS}\nEOF-1", ""),
    bash(f"cat > it.py <<EOF\n{RETURNS}", "warning: here-document at end of file"),
    bash(f"cat > it.py <<EOF\npass\n  EOF\n{RETURNS}\nEOF", ""),
    bash("cat <<<word\nmv draft.txt it.py", ""),
    bash("python -c 'print(1<<2)'\nmv draft.txt it.py", ""),
    bash("# don't\nmv draft.txt it.py", ""),
    bash(f"python -c \"open('it.py','w').write('{RETURNS}')\"", ""),
    bash(f"uv run python -c \"\nopen('it.py', 'w').write(\n'{RETURNS}')\n\"", ""),
    bash(f"python3 - <<'PY'\nPath('it.py').write_text('{RETURNS}')\nPY", ""),
    bash("uv run --with rich python - <<P\nopen('it.py', 'w')\nP", ""),
    bash("uv run - <<P\nopen('it.py', mode='w')\nP", ""),
    bash("sed -i 's|pass|return 1|' it.py", ""),
    bash("perl -pi -e 's/pass/return 1/' it.py", ""),
    bash(f"patch -p1 <<'EOF'\n{PATCH}\nEOF", ""),
    bash("git apply draft.patch", ""),
    bash("dd if=draft.txt of=it.py", ""),
    bash("curl -s -o it.py file:///tmp/draft", ""),
    bash("bash -lc 'mv draft.txt it.py'", ""),
    bash("bash <<EOF\nmv draft.txt it.py\nEOF", ""),
    bash("echo 'mv draft.txt it.py' | sh", ""),
    write("conftest.py", RETURNS),
    write("it.py", "f = lambda: False"),
    event("edit", {"filePath": "it.py", "oldString": "pass", "newString": RETURNS}),
]


@pytest.mark.parametrize("line", CODE_FIRST)
def test_code_that_a_command_writes_first_is_seen(tmp_path: Path, line: str) -> None:
    order = order_of(tmp_path, line, TEST, RED, CODE, GREEN)
    assert order == TddOrder(test_first=False, failed_before=False, passed_after=True)


FIXTURE = "import sys\nimport pytest\nsys.path.insert(0, 'src')\n@pytest.fixture\ndef two():\n    return 2\n"
NO_CODE = [
    bash("mkdir -p src && touch src/it.py src/__init__.py", ""),
    bash(': > it.py; > __init__.py; echo \'"""Doc."""\' > src/__init__.py', ""),
    bash("echo 'def f(): raise NotImplementedError' > it.py && mv it.py src/", ""),
    bash("cat /dev/null > it.py", ""),
    bash("cat it.py; ls *.py > files.txt; grep -n f it.py | tee out.txt", ""),
    bash("python -c \"print(open('it.py').read())\"", ""),
    bash("python -m py_compile it.py; uv run it.py > out.txt 2>&1", "no", 1),
    bash("uv run pytest -k patch; git log --grep apply", ""),
    bash("sed -n '1,5p' it.py", ""),
    bash("sed -i 's/a/b/' test_it.py; mv tests.txt test_it.py", ""),
    bash("python - <<P\nopen('test_it.py', 'w').write('')\nP", ""),
    bash("mv it.py it.py.bak", ""),
    write("test_it.py", "def test_f(:\n"),
    write("conftest.py", FIXTURE + "def pytest_configure(config):\n    print(1)\n"),
    event("edit", {"filePath": "it.py", "oldString": "", "newString": "import os"}),
]


@pytest.mark.parametrize("line", NO_CODE)
def test_command_that_writes_no_code_is_not_taken_for_it(
    tmp_path: Path, line: str
) -> None:
    assert order_of(tmp_path, line, TEST, RED, CODE, GREEN).followed


@pytest.mark.parametrize(
    ("test", "code"),
    [
        ("printf 'def test_f():\\n    assert f()\\n' | tee test_it.py", "mv a.txt it.py"),
        ("echo -e 'def test_f():\\n  f()' > tests/test_it.py", f"echo '{RETURNS}' > it.py"),
        ("echo 'def test_f():' > test_it.py; echo ' f()' >> test_it.py", "cp a.txt it.py"),
        ("cat > test_it.py <<A && cat > b.txt <<B\ndef test_f(): f()\nA\nb\nB", f"tee it.py <<A\n{RETURNS}\nA"),
    ],
)  # fmt: skip
def test_tests_and_code_that_commands_write_are_followed(
    tmp_path: Path, test: str, code: str
) -> None:
    assert order_of(tmp_path, bash(test, ""), RED, bash(code, ""), GREEN).followed


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
                bash("cat <<A\n" * 10_000, ""),
                bash("patch <<A\n" + "a/" * 100_000 + "\nA", ""),
                bash("python -c '" + "open(" * 20_000 + "'", ""),
                bash("'\"" * 50_000 + '\\"' * 25_000, ""),
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
