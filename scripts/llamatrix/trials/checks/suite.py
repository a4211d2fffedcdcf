"""Interpret a run of an agent's tests: which passed, and what makes it unreliable."""

import ast
import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import msgspec

from llamatrix.trials.checks.session import Ran, SuiteReport, TestReport
from llamatrix.trials.checks.sources import Source, is_test_function

_MAX_NAMED = 5
_ASSERTING = ("assert", "check", "verify", "_assert", "_check", "_verify")
_Report = TypeVar("_Report", TestReport, SuiteReport)


@dataclass(frozen=True)
class Suite:
    """One run of pytest on the test files."""

    ran: Ran
    expected: tuple[str, ...]
    """Node ids of the tests that the files define."""

    @cached_property
    def tests(self) -> tuple[TestReport, ...]:
        return tuple(_decoded(self.ran.report, TestReport))

    @cached_property
    def end(self) -> SuiteReport | None:
        """The report of pytest's end; None where judged code ended the process first."""
        return next(_decoded(self.ran.report[::-1], SuiteReport), None)

    @property
    def passed(self) -> tuple[str, ...]:
        return tuple(each.test for each in self.tests if has_passed(each))

    @property
    def failed(self) -> tuple[str, ...]:
        return tuple(each.test for each in self.tests if has_failed(each))

    @property
    def skipped(self) -> tuple[str, ...]:
        return tuple(
            each.test
            for each in self.tests
            if not has_passed(each) and not has_failed(each)
        )

    @property
    def asserted(self) -> bool:
        """Whether a test failed on an assertion of its own, not on an error."""
        return any("assertion" in (each.body, each.raised) for each in self.tests)

    @property
    def good(self) -> bool:
        return bool(self.passed) and not self.failed and not self.problems

    @cached_property
    def problems(self) -> tuple[str, ...]:
        """Reasons why the run does not count, even if no test failed."""
        return tuple(self._find_problems())

    def _find_problems(self) -> Iterator[str]:
        if self.end is None:
            if self.ran.ok or self.tests:
                yield "pytest did not finish: the tests' code ended the process"
            return
        if self.end.errors:
            yield f"{_named(self.end.errors)} cannot be collected"
        if self.end.dropped:
            yield f"{_named(self.end.dropped)} are collected and then removed"
        ran = {each.test for each in self.tests}
        not_run = [name for name in self.end.collected if name not in ran]
        if set(not_run) - set(self.end.dropped):
            yield f"{_named(not_run)} did not run"
        collected = {name.partition("[")[0] for name in self.end.collected}
        missing = [name for name in self.expected if name not in collected]
        if missing and not self.end.errors:
            yield f"{_named(missing)} are not collected"
        yield from self._changed_by_hooks()
        most = len(self.skipped) >= len(self.passed)
        always = any(each.skip_mark or each.body == "skipped" for each in self.tests)
        if self.skipped and (most or always):
            yield f"{_named(self.skipped)} are skipped"
        if excused := [each.test for each in self.tests if _is_excused(each)]:
            yield f"{_named(excused)} are expected to fail"

    def _changed_by_hooks(self) -> Iterator[str]:
        """Yield the tests whose outcome a hook has changed."""
        for each in self.tests:
            words = " ".join(each.outcomes)
            if _raised(each) and "failed" not in words and not _is_excused(each):
                yield f"{each.test} fails, but a hook reports something else"
            elif not each.body and "call passed" in words:
                yield f"{each.test} is reported as passed, but never ran"


def _decoded(lines: Iterable[str], kind: type[_Report]) -> Iterator[_Report]:
    for line in lines:
        with contextlib.suppress(msgspec.MsgspecError):
            yield msgspec.json.decode(line, type=kind)


def has_passed(test: TestReport) -> bool:
    return (
        test.body == test.raised == "passed"
        and not _is_excused(test)
        and all(each.endswith(" passed") for each in test.outcomes)
    )


def has_failed(test: TestReport) -> bool:
    if _is_excused(test):
        return False
    return _raised(test) or any("failed" in each for each in test.outcomes)


def _raised(test: TestReport) -> bool:
    return not {"assertion", "error"}.isdisjoint((test.body, test.raised))


def _is_excused(test: TestReport) -> bool:
    return test.xfail_mark or any(" x" in each for each in test.outcomes)


def _named(names: Sequence[str]) -> str:
    listed = ", ".join(names[:_MAX_NAMED])
    more = len(names) - _MAX_NAMED
    return f"{listed} and {more} more" if more > 0 else listed


def expected_tests(sources: Sequence[Source]) -> tuple[str, ...]:
    """Return the node ids of tests at the top of files and in `Test…` classes."""
    return tuple(dict.fromkeys(_expected(sources)))


def _expected(sources: Sequence[Source]) -> Iterator[str]:
    function = ast.FunctionDef | ast.AsyncFunctionDef
    for source in sources:
        for node in source.tree.body if source.tree else ():
            if isinstance(node, function) and is_test_function(node):
                yield f"{source.name}::{node.name}"
            elif isinstance(node, ast.ClassDef) and _is_collected(node):
                for inner in node.body:
                    if isinstance(inner, function) and is_test_function(inner):
                        yield f"{source.name}::{node.name}::{inner.name}"


def _is_collected(node: ast.ClassDef) -> bool:
    names = {each.name for each in node.body if isinstance(each, ast.FunctionDef)}
    return node.name.startswith("Test") and not {"__init__", "__new__"} & names


def asserts(source: Source, names: Sequence[str], others: Sequence[Source]) -> bool:
    """Whether one of these tests asserts something that is not always true.

    Looks at the test and at the workspace's functions that it calls by name.
    """
    functions = {
        node.name: node
        for each in (*others, source)
        for node in each.nodes
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    wanted = {name.partition("[")[0].rpartition("::")[2] for name in names}
    return any(
        _asserts(functions[name], functions, depth=2)
        for name in wanted
        if name in functions
    )


def _asserts(
    function: ast.AST,
    functions: dict[str, ast.FunctionDef | ast.AsyncFunctionDef],
    *,
    depth: int,
) -> bool:
    for node in ast.walk(function):
        if isinstance(node, ast.Assert) and not _always_true(node.test):
            return True
        if isinstance(node, ast.Raise):
            return True
        if isinstance(node, ast.Call):
            called = node.func
            name = called.attr if isinstance(called, ast.Attribute) else ""
            name = called.id if isinstance(called, ast.Name) else name
            if name.startswith("assert") and name not in functions:
                return True
            if name in ("fail", "raises"):
                return True
            inner = functions.get(name) if name.startswith(_ASSERTING) else None
            if depth and inner and _asserts(inner, functions, depth=depth - 1):
                return True
    return False


def _always_true(  # noqa: PLR0911  one per form
    test: ast.expr,
) -> bool:
    """Whether the text alone decides the outcome."""
    match test:
        case ast.BoolOp(op=ast.Or()):
            return any(_always_true(each) for each in test.values)
        case ast.BoolOp():
            return all(_always_true(each) for each in test.values)
        case ast.Compare(
            left=ast.Call(), ops=[ast.GtE()], comparators=[ast.Constant(value=0)]
        ):
            return True
        case ast.Compare(left=left, comparators=[right]):
            return ast.dump(left) == ast.dump(right) or not _names(test)
        case ast.Call(func=ast.Name(id="isinstance"), args=[_, ast.Name(id="object")]):
            return True
        case ast.Call(func=ast.Name(id="callable")):
            return True
        case _:
            return not _names(test)


def _names(node: ast.expr) -> bool:
    return any(isinstance(each, ast.Name) for each in ast.walk(node))
