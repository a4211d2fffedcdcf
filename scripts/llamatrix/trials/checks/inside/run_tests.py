"""Run pytest on judged tests with a plugin of ours, and report what it sees.

`python -P run_tests.py WORKSPACE PACKAGE,… FLAG… FILE…`, with the interpreter of the
judged project. Without packages it does not look for a replaced client. Standard input
is one line: a token and the path of the report. Each line of the report begins with the
token, and the file is unlinked before judged code runs. Judged code shares this
interpreter, so a report is only a claim: the judge compares it with the requests that
the service got, and with a second run in which the service answers differently. Both
runs have the same words, and look alike from inside, or tests could tell them apart.
"""

import contextlib
import functools
import gc
import inspect
import json
import os
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

_MAX_REPORTED = 40
_DEEPEST = 2
_MOCK_FILES = ("/unittest/mock.py", "/mock/mock.py")
_TRANSPORTS = ("handle_request", "handle_async_request")


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
    """Return the plugin; its hooks are marked with pytest's decorators, once imported."""
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
    """Records each test three times: its function, pytest's report, the final outcome."""

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
        self._watch = _Watch(workspace)

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
            "errors": self._errors[:_MAX_REPORTED],
            "modules": modules,
            "replaced": sorted(self._watch.found)[:_MAX_REPORTED],
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
        """Wrap every test function, so that its own outcome is seen."""
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
        @contextlib.contextmanager
        def noting_the_end() -> Iterator[None]:
            try:
                yield
            except BaseException as error:
                self._bodies[name] = self._kind(error)
                raise
            self._bodies[name] = self._kind(None)

        async def awaited(*args: object, **kwargs: object) -> object:
            with noting_the_end():
                return await function(*args, **kwargs)  # type: ignore[misc]

        def called(*args: object, **kwargs: object) -> object:
            with noting_the_end():
                return function(*args, **kwargs)

        is_async = inspect.iscoroutinefunction(function)
        return functools.wraps(function)(awaited if is_async else called)

    def _kind(self, error: BaseException | None) -> str:
        if error is None:
            return "passed"
        if isinstance(error, self.skips):
            return "skipped"
        return "assertion" if isinstance(error, self.assertions) else "error"

    def pytest_runtest_call(self, item: object) -> Iterator[None]:
        del item
        if (
            not self._packages or sys.gettrace() is not None
        ):  # coverage or a debugger traces
            yield
            return
        sys.settrace(self._watch.tracer())
        yield
        sys.settrace(None)

    def pytest_runtest_makereport(self, item: object, call: object) -> Iterator[None]:
        info = getattr(call, "excinfo", None)
        yield
        if getattr(call, "when", "") == "call":
            if _is_unittest(item):  # pytest has the outcome only now
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


class _Watch:
    """Looks for anything that replaces the service's client while judged code runs."""

    def __init__(self, workspace: str) -> None:
        self._workspace = workspace + os.sep
        self._environment = sys.prefix + os.sep
        self._roots: set[str] = set()
        self._targets: list[tuple[dict[str, object], str, object, str]] = []
        self._kinds: dict[int, str] = {}
        """By identity: hashing a code object takes longer than running a short one."""
        self._codes: list[types.CodeType] = []
        """Kept alive, so that no other object gets the same identity."""
        self.found: set[str] = set()

    def begin(self, packages: list[str]) -> None:
        """Remember the functions, classes and clients that must not be replaced."""
        sys.addaudithook(self._audit)
        self._roots = {each.partition(".")[0] for each in packages}
        self._roots |= {"httpcore", "socket", "ssl"}
        for name, module in list(sys.modules.items()):
            file = str(getattr(module, "__file__", "") or "")
            if self._ours(file):
                if not _is_test(file):
                    self._remember_own(name, vars(module))
            elif _root(name) in self._roots and name.count(".") <= _DEEPEST:
                self._remember_client(name, vars(module))

    def _audit(self, event: str, arguments: tuple[object, ...]) -> None:
        """Report judged code that opens a server: it would answer its own requests."""
        if event != "socket.bind" or not isinstance(arguments[-1], tuple):
            return
        frame = sys._getframe(1)  # noqa: SLF001  the caller
        while frame.f_back:
            if self._kind(frame.f_code) in ("test", "script"):
                self.found.add("a server of its own listens")
                return
            frame = frame.f_back

    def _remember_own(self, name: str, names: dict[str, object]) -> None:
        """Remember a module's own functions, and its references to the client."""
        for key, value in list(names.items()):
            own = isinstance(value, types.FunctionType | type) and self._ours(
                _file_of(value)
            )
            if not key.startswith("__") and (own or self._of_client(value)):
                self._targets.append((names, key, value, f"{name}.{key}"))

    def _remember_client(self, name: str, names: dict[str, object]) -> None:
        for key, value in list(names.items()):
            if key.startswith("__"):
                continue
            if isinstance(value, types.FunctionType | type):
                self._targets.append((names, key, value, f"{name}.{key}"))
            if isinstance(value, type) and value.__module__ == name:
                place: dict[str, object] = vars(value)  # type: ignore[assignment]
                for inner, method in list(place.items()):
                    if isinstance(method, types.FunctionType):
                        target = f"{name}.{key}.{inner}"
                        self._targets.append((place, inner, method, target))

    def _of_client(self, value: object) -> bool:
        if isinstance(value, types.ModuleType):
            return _root(value.__name__) in self._roots
        place = getattr(value, "__module__", None) or type(value).__module__
        return _root(str(place)) in self._roots

    def _replaced(self, old: object, new: object) -> bool:
        """Whether this is a replacement; a reload or a second real client is not."""
        if new is old:
            return False
        if isinstance(old, types.FunctionType | type):
            file = _file_of(old)
            return not (file and self._ours(file) and _file_of(new) == file)
        return not (type(new) is type(old) and self._of_client(new))

    def tracer(self) -> Callable[[types.FrameType, str, object], None]:
        """Return a trace function that looks at each Python function as it is entered.

        A test makes a hundred thousand calls, so the common path uses a local name.
        """
        known = self._kinds.get

        def see(frame: types.FrameType, _event: str, _argument: object) -> None:
            kind = known(id(frame.f_code))
            if kind is None:
                kind = self._kind(frame.f_code)
            if kind:
                self._look(frame, kind)

        return see

    def _look(self, frame: types.FrameType, kind: str) -> None:
        caller = frame.f_back.f_code if frame.f_back else None
        calling = self._kind(caller) if caller else ""
        if kind == "mock":
            if calling in ("test", "script"):
                self.found.add("unittest.mock is called")
            return
        for names, key, value, target in self._targets:
            if self._replaced(value, names.get(key)):
                self.found.add(f"{target} is replaced")
        if caller is None:
            return
        if frame.f_code.co_name in _TRANSPORTS and calling not in ("test", "script"):
            self.found.add(
                f"{frame.f_code.co_name} of the workspace answers the client"
            )
        if kind == "test" and calling == "script" and frame.f_back:
            place = os.path.relpath(caller.co_filename, self._workspace)
            line, name = frame.f_back.f_lineno, frame.f_code.co_name
            self.found.add(f"{place}:{line} calls {name} of a test")

    def _kind(self, code: types.CodeType) -> str:
        known = self._kinds.get(id(code))
        if known is None:
            known = self._kinds[id(code)] = self._kind_of(code.co_filename)
            self._codes.append(code)
        return known

    def _kind_of(self, file: str) -> str:
        if file.endswith(_MOCK_FILES):
            return "mock"
        if not self._ours(file):
            return ""
        return "test" if _is_test(file) else "script"

    def _ours(self, file: str) -> bool:
        if not file or file.startswith("<"):  # `<frozen os>`, `<string>`
            return False
        absolute = file if file.startswith(os.sep) else f"{Path.cwd()}/{file}"
        return absolute.startswith(self._workspace) and not absolute.startswith(
            self._environment
        )


def _is_test(file: str) -> bool:
    name = Path(file).name
    return name.startswith(("test_", "conftest")) or name.endswith("_test.py")


def _root(name: str) -> str:
    return name.partition(".")[0]


def _file_of(value: object) -> str:
    code = getattr(value, "__code__", None)
    if code is not None:
        return str(code.co_filename)
    module = sys.modules.get(str(getattr(value, "__module__", "")))
    return str(getattr(module, "__file__", "") or "")


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # taking down a large SDK's modules takes as long as a test
