"""Runs pytest on judged tests with a plugin of ours, and reports what it sees.

`python -P run_tests.py WORKSPACE PACKAGE,… FLAG… FILE…`, by the interpreter of the judged
project; without packages no replaced client is looked for. Standard input is one line: a token and the file to write to. Each report is a
line that begins with the token; the file is unlinked before any judged code runs. Judged
code shares this interpreter, so a report is a claim: the judge holds it against what the
service was asked, and against a second run in which the service answers otherwise.
"""

import functools
import gc
import inspect
import json
import os
import runpy
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from llamatrix.trials.checks.inside.watch import Watch

_TOLD = 40


def main() -> int:
    token, path = sys.stdin.readline().split()
    report = Path(path).open("a", buffering=1)  # noqa: SIM115  open until we end
    Path(path).unlink()
    workspace, packages, *arguments = sys.argv[1:]
    here = os.path.realpath(workspace)
    sys.path[:] = [each for each in sys.path if os.path.realpath(each or ".") != here]
    gc.disable()  # until tests run: what imports make stays, so collecting is in vain
    import pytest

    sys.path.append(workspace)  # as `python -m pytest` does, but shadowing nothing
    sys.argv[1:] = arguments
    reporter = _reporter(pytest)(report, token, here, packages.split(","))
    code = int(pytest.main(arguments, plugins=[reporter]))
    reporter.tell(over=True, code=code, pytest=pytest.__version__, **reporter.summary())
    return code


def _reporter(pytest: types.ModuleType) -> Callable[..., "Reporter"]:
    """The plugin with its hooks marked: pytest's own decorators are needed for that."""
    outermost = pytest.hookimpl(hookwrapper=True, tryfirst=True)
    last = pytest.hookimpl(trylast=True)
    for name in (
        *("pytest_collection_modifyitems", "pytest_runtest_protocol"),
        *("pytest_runtest_makereport", "pytest_runtest_call"),
    ):
        setattr(Reporter, name, outermost(getattr(Reporter, name)))
    Reporter.pytest_collection_finish = last(Reporter.pytest_collection_finish)  # type: ignore[method-assign]
    Reporter.assertions = (AssertionError, pytest.fail.Exception)
    Reporter.skips = (pytest.skip.Exception,)
    return Reporter


class Reporter:
    """Sees each test three times: its function, pytest's report, the final outcome."""

    assertions: tuple[type[BaseException], ...] = ()
    skips: tuple[type[BaseException], ...] = ()

    def __init__(
        self, report: IO[str], token: str, workspace: str, packages: list[str]
    ) -> None:
        self._report = report
        self._token = token
        self._workspace = workspace
        self._packages = [each for each in packages if each]
        self._collected: list[str] = []
        self._dropped: list[str] = []
        self._errors: list[str] = []
        self._bodies: dict[str, str] = {}
        self._outcomes: dict[str, list[str]] = {}
        self._raised: dict[str, str] = {}
        beside = Path(__file__).with_name("watch.py")
        watch: type[Watch] = runpy.run_path(str(beside))["Watch"]
        self._watch = watch(workspace)

    def tell(self, **content: object) -> None:
        self._report.write(f"{self._token}{json.dumps(content)}\n")

    def summary(self) -> dict[str, object]:
        modules = {
            name: str(getattr(sys.modules.get(name), "__file__", "") or "")
            for name in self._packages
            if name in sys.modules
        }
        return {
            "collected": self._collected,
            "dropped": self._dropped,
            "errors": self._errors[:_TOLD],
            "modules": modules,
            "replaced": sorted(self._watch.found)[:_TOLD],
        }

    def pytest_collectreport(self, report: object) -> None:
        if getattr(report, "failed", False):
            self._errors.append(str(getattr(report, "nodeid", "")))

    def pytest_collection_modifyitems(self, items: list[object]) -> Iterator[None]:
        before = [_name(each) for each in items]
        yield
        after = {_name(each) for each in items}
        self._collected = before
        self._dropped = [each for each in before if each not in after]

    def pytest_collection_finish(self, session: object) -> None:
        """Stand between pytest and every test function."""
        for item in getattr(session, "items", ()):
            function = getattr(item, "obj", None)
            if isinstance(
                function, types.FunctionType | types.MethodType
            ) and not _is_unittest(item):
                item.obj = self._between(_name(item), function)
        if self._packages:
            self._watch.begin(self._packages)
        gc.enable()

    def _between(self, name: str, function: Callable[..., object]) -> object:
        def ended(error: BaseException | None) -> None:
            self._bodies[name] = self._kind(error)

        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def awaited(*args: object, **kwargs: object) -> object:
                try:
                    result = await function(*args, **kwargs)
                except BaseException as error:
                    ended(error)
                    raise
                ended(None)
                return result

            return awaited

        @functools.wraps(function)
        def called(*args: object, **kwargs: object) -> object:
            try:
                result = function(*args, **kwargs)
            except BaseException as error:
                ended(error)
                raise
            ended(None)
            return result

        return called

    def _kind(self, error: BaseException | None) -> str:
        if error is None:
            return "passed"
        if isinstance(error, self.skips):
            return "skipped"
        return "assertion" if isinstance(error, self.assertions) else "error"

    def pytest_runtest_call(self, item: object) -> Iterator[None]:
        del item
        if not self._packages or sys.gettrace() is not None:  # coverage's, a debugger's
            yield
            return
        sys.settrace(self._watch.tracer())
        yield
        sys.settrace(None)

    def pytest_runtest_makereport(self, item: object, call: object) -> Iterator[None]:
        info = getattr(call, "excinfo", None)
        yield
        if getattr(call, "when", "") == "call":
            if _is_unittest(item):  # only now pytest has asked the test case
                info = getattr(call, "excinfo", None)
            self._raised[_name(item)] = self._kind(info.value if info else None)

    def pytest_runtest_logreport(self, report: object) -> None:
        word = str(getattr(report, "outcome", ""))
        if hasattr(report, "wasxfail"):
            word = f"x{word}"
        when = str(getattr(report, "when", ""))
        name = str(getattr(report, "nodeid", ""))
        self._outcomes.setdefault(name, []).append(f"{when} {word}")

    def pytest_runtest_protocol(self, item: object) -> Iterator[None]:
        yield
        name = _name(item)
        marks = getattr(item, "iter_markers", lambda _: ())
        self.tell(
            test=name,
            body=self._bodies.get(name, self._raised[name])
            if _is_unittest(item) and name in self._raised
            else self._bodies.get(name, ""),
            raised=self._raised.get(name, ""),
            outcomes=self._outcomes.get(name, []),
            skip_mark=any(True for _ in marks("skip")),
            xfail_mark=any(True for _ in marks("xfail")),
        )


def _is_unittest(item: object) -> bool:
    return type(item).__name__ == "TestCaseFunction"


def _name(item: object) -> str:
    return str(getattr(item, "nodeid", ""))


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # taking down a large SDK's modules takes as long as a test
