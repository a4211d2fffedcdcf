"""Whether something stands in for the service's client while judged code runs.

Loaded by `run_tests.py`, beside judged code: standard library only.
"""

import os
import sys
import types
from collections.abc import Callable
from pathlib import Path

_DEEPEST = 2
_MOCK_FILES = ("/unittest/mock.py", "/mock/mock.py")
_TRANSPORTS = ("handle_request", "handle_async_request")


class Watch:
    """What stands in for the client while judged code runs: looked at from inside."""

    def __init__(self, workspace: str) -> None:
        self._workspace = workspace + os.sep
        self._environment = sys.prefix + os.sep
        self._roots: set[str] = set()
        self._targets: list[tuple[dict[str, object], str, object, str]] = []
        self._kinds: dict[int, str] = {}
        """By identity: to hash a code object takes longer than to run a short one."""
        self._codes: list[types.CodeType] = []
        """Kept, or another one might get the identity."""
        self.found: set[str] = set()

    def begin(self, packages: list[str]) -> None:
        """Remember the functions, classes and clients that are to stay what they are."""
        sys.addaudithook(self._hear)
        self._roots = {each.partition(".")[0] for each in packages}
        self._roots |= {"httpcore", "socket", "ssl"}
        for name, module in list(sys.modules.items()):
            file = str(getattr(module, "__file__", "") or "")
            if self._ours(file):
                if not _is_test(file):
                    self._remember_own(name, vars(module))
            elif _root(name) in self._roots and name.count(".") <= _DEEPEST:
                self._remember_client(name, vars(module))

    def _hear(self, event: str, arguments: tuple[object, ...]) -> None:
        """A judged program that waits for connections answers them itself."""
        if event != "socket.bind" or not isinstance(arguments[-1], tuple):
            return
        frame = sys._getframe(1)  # noqa: SLF001  who asked for it
        while frame.f_back:
            if self._kind(frame.f_code) in ("test", "script"):
                self.found.add("a server of its own listens")
                return
            frame = frame.f_back

    def _remember_own(self, name: str, names: dict[str, object]) -> None:
        """Its own functions, and what it holds of the client."""
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
                        told = f"{name}.{key}.{inner}"
                        self._targets.append((place, inner, method, told))

    def _of_client(self, value: object) -> bool:
        if isinstance(value, types.ModuleType):
            return _root(value.__name__) in self._roots
        place = getattr(value, "__module__", None) or type(value).__module__
        return _root(str(place)) in self._roots

    def _replaced(self, old: object, new: object) -> bool:
        """A reload makes the same things anew; that and another client are none."""
        if new is old:
            return False
        if isinstance(old, types.FunctionType | type):
            file = _file_of(old)
            return not (file and self._ours(file) and _file_of(new) == file)
        return not (type(new) is type(old) and self._of_client(new))

    def tracer(self) -> Callable[[types.FrameType, str, object], None]:
        """Called at the beginning of every function: not of its lines, nor of C's.

        A client makes a hundred thousand calls in a test, so what most need is local.
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
        for names, key, value, told in self._targets:
            if self._replaced(value, names.get(key)):
                self.found.add(f"{told} is replaced")
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
