"""The order of an agent's work, by its tool calls: test-driven or not.

The model's claims do not count: what counts is which files held a test or an
implementation when pytest ran. Only a command that runs a test runner and nothing else
shows how tests ended. Hidden changes of the agent's environment, such as another
`pytest` on its PATH, go unnoticed; the verdict does not depend on them.
"""

import ast
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import dropwhile
from pathlib import PurePosixPath

from msgspec import Struct

from llamatrix.agents.protocol import Edit, Run, ToolCall, Write
from llamatrix.agents.trajectory import is_page_request
from llamatrix.trials.checks.shell_writes import (
    RUN_WITH_VALUE,
    without_documents,
    written_files,
)
from llamatrix.trials.checks.sources import Source, is_fixture

_FAILED_LOOKUP = re.compile(
    r"^\s*(error|failed|no (documentation|results)\b)", re.IGNORECASE
)
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")
_SPLITS = {";", "&&", "||", "|", "&", "|&", "\n"}
_SILENT = {
    *("cd", "export", "set", "source", ".", "mkdir", "touch", "rm", "sleep", "true"),
    *("tail", "head", "tee", "grep", "ls", "pwd", "git", "uv", "pip", "chmod", "wait"),
}
"""Programs that print nothing like a test result, or a part of the tests' output."""
_RUNNERS = {"pytest", "py.test"}
_WRAPPERS = {"env", "time", "nice", "timeout", "stdbuf", "unbuffer"}
_MISLEADING = re.compile(r"\(\)|\balias\b|`|\$\(|<\(|\bPATH=|\bPYTHON\w+=|\beval\b")
_TEST_FILE = re.compile(r"(test_\w+|\w+_test)\.py")
_SHADOWS = {"pytest.py", "unittest.py", "_pytest.py", "sitecustomize.py"}
"""Files that would shadow the test runner."""
_FAILED = re.compile(r"\b[1-9]\d* (failed|errors?)\b|^FAILED \(", re.MULTILINE)
_PASSED = re.compile(r"\b[1-9]\d* passed\b|^OK\b", re.MULTILINE)


def looked_up_docs(call: ToolCall) -> bool:
    """Return whether this call got documentation from Context7.

    If Context7's back end is down, the call completes with an error as its text.
    """
    return (
        call.completed
        and is_page_request(call)
        and bool(call.output.strip())
        and not _FAILED_LOOKUP.match(call.output)
    )


def runs_tests_only(command: str) -> bool:
    """Whether a command's output can only come from a test runner.

    `echo "1 failed"` runs no tests; `pytest; echo "1 failed"` does, but prints more.
    """
    text, _ = without_documents(command)
    if _MISLEADING.search(text):
        return False
    try:
        parts = list(_parts(text))
    except ValueError:  # an open quote
        return False
    kinds = [_kind(words) for words in parts if words]
    return "runner" in kinds and "other" not in kinds


def _parts(text: str) -> Iterator[list[str]]:
    for line in filter(str.strip, text.split("\n")):
        words: list[str] = []
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        for word in lexer:
            if word in _SPLITS:
                yield words
                words = []
            else:
                words.append(word)
        yield words


def _kind(words: Sequence[str]) -> str:  # noqa: PLR0911  one per kind
    rest = list(dropwhile(_is_prefix, words))
    if not rest:
        return "silent"
    program, *arguments = rest
    if program == "uv" and arguments[:1] == ["run"]:
        return _kind(_after_options(arguments[1:])) or "other"
    if program == "uvx":
        return _kind(_after_options(arguments))
    name = PurePosixPath(program).name
    if name in _RUNNERS and ("/" not in program or "/bin/" in program):
        return "runner"
    if name.startswith("python"):
        return "runner" if _is_test_module(arguments) else "other"
    if name in ("cat", "echo", "printf") and ">" in arguments:
        return "silent"
    return "silent" if program in _SILENT else "other"


def _is_prefix(word: str) -> bool:
    """Whether it is an assignment, or belongs to a program that starts another one."""
    return (
        word in _WRAPPERS
        or _ASSIGNMENT.match(word) is not None
        or re.fullmatch(r"-\w+|\d+[smh]?", word) is not None
    )


def _after_options(words: Sequence[str]) -> list[str]:
    waiting = list(words)
    while waiting and waiting[0].startswith("-"):
        option = waiting.pop(0)
        if option in RUN_WITH_VALUE and waiting:
            waiting.pop(0)
    return waiting


def _is_test_module(arguments: Sequence[str]) -> bool:
    rest = [word for word in arguments if word not in ("-u", "-B", "-P", "-I")]
    if rest[:1] == ["-m"]:
        return rest[1:2] in (["pytest"], ["unittest"])
    return bool(rest) and bool(_TEST_FILE.fullmatch(PurePosixPath(rest[0]).name))


class TddOrder(Struct, frozen=True, kw_only=True):
    """Which of the three steps of test-driven development happened."""

    test_first: bool
    """A test was written before any implementation."""
    failed_before: bool
    """Tests were run and failed before any implementation existed."""
    passed_after: bool
    """Tests were run and passed with the implementation."""

    @property
    def followed(self) -> bool:
        return self.test_first and self.failed_before and self.passed_after


def tdd_order(calls: Sequence[ToolCall]) -> TddOrder:
    texts: dict[str, str] = {}
    tested = implemented = shadowed = False
    test_first = failed_before = passed_after = False
    for call in calls:
        for name, text in _written(call, texts):
            shadowed = shadowed or name in _SHADOWS
            if text is None:
                texts.pop(name, None)
                implemented = implemented or not _TEST_FILE.fullmatch(name)
                continue
            texts[name] = text
            source = Source(name, text)
            if _is_test(source):
                tested = True
                test_first = test_first or not implemented
            elif _implements(source):
                implemented = True
        match None if shadowed else _test_result(call):
            case False if tested and not implemented:
                failed_before = True
            case True if tested and implemented:
                passed_after = True
    return TddOrder(
        test_first=test_first, failed_before=failed_before, passed_after=passed_after
    )


def _written(
    call: ToolCall, texts: Mapping[str, str]
) -> Iterator[tuple[str, str | None]]:
    """Yield the Python files that a call writes, with their whole text if it is known."""
    written: Iterable[tuple[str, str | None]] = ()
    match call.action:
        case Write(path=path, content=content) if call.completed:
            written = [(PurePosixPath(path).name, content)]
        case Edit(path=path) as edit if call.completed:
            name = PurePosixPath(path).name
            text = texts.get(name, "")
            for old, new in edit.pairs:
                if name in texts or not old:
                    text = text.replace(old, new, 1) if old else new
                else:  # the part that is known
                    text = f"{text}\n{new}"
            written = [(name, text)]
        case Run(command=command):
            written = written_files(command, texts)
        case _:
            return
    yield from (each for each in written if each[0].endswith(".py"))


def _is_test(source: Source) -> bool:
    return source.is_test and not source.is_conftest


def _implements(source: Source) -> bool:
    """Whether the file implements something; a stub that makes tests fail does not."""
    if source.tree is None:
        return bool(source.text.strip()) and not _TEST_FILE.fullmatch(source.name)
    body = source.tree.body
    if source.is_conftest:
        body = [node for node in body if not _belongs_to_tests(node)]
    return any(not _is_stub(node) for node in _statements(body))


def _belongs_to_tests(node: ast.stmt) -> bool:
    """Whether it is a fixture, a hook or a setting of `conftest.py`."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return is_fixture(node) or node.name.startswith("pytest_")
    return not isinstance(node, ast.ClassDef)


def _statements(body: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield the statements of functions and methods, and those that run on import."""
    waiting = list(body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from node.body
        elif isinstance(node, ast.ClassDef):
            waiting.extend(node.body)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            if isinstance(node.value, ast.Lambda):
                yield node
        elif not isinstance(node, ast.Import | ast.ImportFrom):
            yield node


def _is_stub(node: ast.stmt) -> bool:
    if isinstance(node, ast.Raise):
        return "NotImplementedError" in ast.dump(node)
    return isinstance(node, ast.Pass) or (
        isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    )


def _test_result(call: ToolCall) -> bool | None:
    """Return whether tests ran in this call and passed; None if none ran.

    The runner's output decides, not only the exit code: `pytest | tail` exits with 0,
    and uv exits with 2 if pytest cannot be started. A command that runs anything else
    as well proves nothing, as that could have printed the same words.
    """
    if not call.command or not runs_tests_only(call.command):
        return None
    failed = bool(_FAILED.search(call.output))
    if failed and (call.exit_code or "|" in call.command or call.exit_code is None):
        return False
    return True if _PASSED.search(call.output) and not failed else None
