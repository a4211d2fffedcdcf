"""Red, green: the order of an agent's work, by its tool calls.

Whether the model claims to work test first is not asked; what is looked at is which
file held a test or an implementation at the moment pytest ran. Only a command that runs
a test runner and nothing else shows how tests ended. What an agent makes of its
environment unseen, such as another `pytest` on its PATH, this cannot show; the verdict
does not rest on it.
"""

import ast
import re
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

from msgspec import Struct

from llamatrix.agents.protocol import Edit, Run, ToolCall, Write
from llamatrix.trials.checks.runner_command import runs_tests_only
from llamatrix.trials.checks.sources import Source

_SHADOWS = {"pytest.py", "unittest.py", "_pytest.py", "sitecustomize.py"}
"""Files that would run in the test runner's place."""
_FAILED = re.compile(r"\b[1-9]\d* (failed|errors?)\b|^FAILED \(", re.MULTILINE)
_PASSED = re.compile(r"\b[1-9]\d* passed\b|^OK\b", re.MULTILINE)
_HERE = re.compile(r"(?<!<)<<-?[ \t]*['\"]?(\w+)")
_WORD = re.compile(r"\s*(\w+)")
_PYTHON_FILE = re.compile(r"[\w./-]+\Z")


class TddOrder(Struct, frozen=True, kw_only=True):
    """Which of the three steps happened."""

    test_first: bool
    """A test was written before any implementation."""
    failed_before: bool
    """It was run, and failed, before there was any implementation."""
    passed_after: bool
    """Tests were run and passed with the implementation there."""

    @property
    def followed(self) -> bool:
        return self.test_first and self.failed_before and self.passed_after


def tdd_order(calls: Sequence[ToolCall]) -> TddOrder:
    texts: dict[str, str] = {}
    tested = implemented = shadowed = False
    test_first = failed_before = passed_after = False
    for call in calls:
        for name, text in _written(call, texts):
            texts[name] = text
            shadowed = shadowed or name in _SHADOWS
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


def _written(call: ToolCall, texts: dict[str, str]) -> Iterator[tuple[str, str]]:
    """The Python files a call leaves behind, with their whole text."""
    match call.action:
        case Write(path=path, content=content) if call.completed:
            written = [(PurePosixPath(path).name, content)]
        case Edit(path=path, old=old, new=new) if call.completed:
            name = PurePosixPath(path).name
            text = texts.get(name, "")
            written = [(name, text.replace(old, new, 1) if old else new)]
        case Run(command=command):
            written = list(_here_documents(command))
        case _:
            return
    yield from (each for each in written if each[0].endswith(".py"))


def _here_documents(command: str) -> Iterator[tuple[str, str]]:
    """The Python files written by `cat > FILE <<END` or `tee FILE <<END`.

    Read line by line: a pattern over the whole text takes quadratic time on what a
    model may write.
    """
    lines = iter(command.split("\n"))
    for line in lines:
        end = _HERE.search(line)
        if end is None:
            continue
        name = _written_to(line)
        text: list[str] = []
        for inner in lines:
            if (first := _WORD.match(inner)) and first[1] == end[1]:
                break
            text.append(inner)
        else:
            return  # it has no end: nothing was written
        if name:
            yield PurePosixPath(name).name, "\n".join(text)


def _written_to(line: str) -> str | None:
    """The Python file that a line with `cat` or `tee` writes to."""
    words = line.replace(">", " > ").replace("<<", " << ").split()
    program = next((word for word in words if word in {"cat", "tee"}), None)
    if program is None:
        return None
    before = None
    for word in words[words.index(program) :]:
        named = word.strip("'\"")
        to_here = before == ">" or (program == "tee" and before in {"tee", "-a"})
        if to_here and named.endswith(".py") and _PYTHON_FILE.match(named):
            return named
        before = word
    return None


def _is_test(source: Source) -> bool:
    return source.is_test and not source.is_conftest


def _implements(source: Source) -> bool:
    """Whether the file does something yet: a stub, made so that a test can fail, not."""
    if source.tree is None:
        return bool(source.text.strip())
    return not source.is_conftest and any(
        not _is_stub(node) for node in _statements(source.tree)
    )


def _statements(tree: ast.Module) -> Iterator[ast.stmt]:
    """The bodies of functions, classes opened; beside them what runs on import."""
    waiting: list[ast.stmt] = list(tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from node.body
        elif isinstance(node, ast.ClassDef):
            waiting.extend(node.body)
        elif not isinstance(
            node, ast.Import | ast.ImportFrom | ast.Assign | ast.AnnAssign
        ):
            yield node


def _is_stub(node: ast.stmt) -> bool:
    if isinstance(node, ast.Raise):
        return "NotImplementedError" in ast.dump(node)
    return isinstance(node, ast.Pass) or (
        isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    )


def _test_result(call: ToolCall) -> bool | None:
    """Whether tests ran in this call and passed; None where none ran.

    The runner's own words decide, not the exit code alone: `pytest | tail` ends with 0,
    and uv ends with 2 where pytest cannot even be started. A command that also runs
    something else proves nothing: that could have written the words.
    """
    if not call.command or not runs_tests_only(call.command):
        return None
    failed = bool(_FAILED.search(call.output))
    if failed and (call.exit_code or "|" in call.command or call.exit_code is None):
        return False
    return True if _PASSED.search(call.output) and not failed else None
