"""The Python files of a workspace, their syntax trees, and mocks in them."""

import ast
import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

_LARGEST_BYTES = 1 << 20
_MOST_BYTES = 2 << 20
"""Of all files together: a syntax tree takes a thousand times as much memory."""
_HEAD_BYTES = 2048
_CACHES = {".cache", ".git", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".uv-cache"}
_MODULES = {
    *("unittest.mock", "mock", "respx", "responses", "pytest_httpx", "pytest_mock"),
    *("requests_mock", "httpretty", "vcr", "pytest_recording", "betamax", "mockito"),
    *("flexmock", "aioresponses", "pook", "mocket", "doublex", "pytest_httpserver"),
    *("pytest_localserver", "http.server", "socketserver", "wsgiref"),
}
_FIXTURES = {
    *("mocker", "class_mocker", "module_mocker", "session_mocker"),
    *("httpx_mock", "respx_mock", "requests_mock", "responses"),
}
_BASES = ("BaseTransport", "AsyncBaseTransport", "BaseAdapter")
_TRANSPORTS = {"MockTransport", "ASGITransport", "WSGITransport"}


@dataclass(frozen=True)
class Source:
    """A Python file; `tree` is None if it cannot be parsed."""

    name: str
    """Relative to the workspace."""
    text: str
    too_large: bool = False
    """Larger than any file written by hand; then its text is empty."""

    @cached_property
    def tree(self) -> ast.Module | None:
        try:
            return ast.parse(self.text)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None

    @cached_property
    def nodes(self) -> tuple[ast.AST, ...]:
        return tuple(ast.walk(self.tree)) if self.tree else ()

    @cached_property
    def has_tests(self) -> bool:
        """Whether a function looks like a test to pytest."""
        return any(
            isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            and is_test_function(node)
            for node in self.nodes
        )

    @cached_property
    def is_test(self) -> bool:
        """Whether the file is a test: by its name, or because it does nothing else.

        A script with a helper called `test_connection`, or with its own test in it, is
        a script.
        """
        if self.is_conftest:
            return True
        path = Path(self.name)
        named = path.stem.startswith("test_") or path.stem.endswith("_test")
        if named and (self.has_tests or self.too_large):
            return True
        placed = {"tests", "test"} & set(path.parts[:-1])
        return self.has_tests and (bool(placed) or not self._does_more)

    @property
    def _does_more(self) -> bool:
        """Whether it has functions or code other than tests and imports."""
        body = self.tree.body if self.tree else []
        return any(
            isinstance(node, ast.If)
            or (
                isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
                and not node.name.startswith("test")
                and not is_fixture(node)
            )
            for node in body
        )

    @property
    def is_conftest(self) -> bool:
        return Path(self.name).name == "conftest.py"

    @cached_property
    def imported(self) -> frozenset[str]:
        """Full names of imported modules; `from a import b` gives both `a` and `a.b`."""
        names: list[str] = []
        for node in self.nodes:
            if isinstance(node, ast.Import):
                names += [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.append(node.module)
                names += [f"{node.module}.{alias.name}" for alias in node.names]
        return frozenset(names)

    @cached_property
    def strings(self) -> tuple[str, ...]:
        """All string literals that are not docstrings."""
        docstrings = {
            id(node.value) for node in self.nodes if isinstance(node, ast.Expr)
        }
        return tuple(
            node.value
            for node in self.nodes
            if isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and id(node) not in docstrings
        )


def is_test_function(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether pytest may collect it; it does not collect a fixture `test_client`."""
    return node.name.startswith("test") and not is_fixture(node)


def is_fixture(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return any(dotted(each).endswith("fixture") for each in node.decorator_list)


def fixture_names(sources: Iterable[Source]) -> frozenset[str]:
    return frozenset(
        node.name
        for source in sources
        for node in source.nodes
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and is_fixture(node)
    )


def files(workspace: Path, *, hidden: bool = False) -> tuple[Path, ...]:
    """Return ordinary files, on request those in hidden folders; follow no links."""
    found = []
    for here, folders, names in os.walk(workspace):
        folders[:] = [
            name
            for name in folders
            if (hidden or not name.startswith("."))
            and name not in _CACHES
            and not is_installed(Path(here, name))
        ]
        paths = (Path(here, name) for name in names)
        found += [path for path in paths if stat.S_ISREG(path.lstat().st_mode)]
    return tuple(sorted(found))


def is_installed(folder: Path) -> bool:
    """Whether Python or a package manager made it; an environment can have any name."""
    made = folder.name in {"__pycache__", "node_modules"}
    return made or (folder / "pyvenv.cfg").is_file()


def text_of(path: Path) -> str:
    """Return the file's text; empty if it is larger than any file written by hand."""
    if path.stat().st_size > _LARGEST_BYTES:
        return ""
    return path.read_text(errors="replace")


def read_sources(workspace: Path, *, hidden: bool = False) -> tuple[Source, ...]:
    left = _MOST_BYTES
    sources = []
    for path in files(workspace, hidden=hidden):
        if path.suffix != ".py" and (path.suffix or not _is_script(path)):
            continue
        size_bytes = path.stat().st_size
        too_large = size_bytes > min(_LARGEST_BYTES, left)
        left -= 0 if too_large else size_bytes
        name = path.relative_to(workspace).as_posix()
        text = "" if too_large else text_of(path)
        sources.append(Source(name=name, text=text, too_large=too_large))
    return tuple(sources)


def _is_script(path: Path) -> bool:
    """Whether a file without suffix is a Python script: by first line or metadata."""
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    first = head.split(b"\n", 1)[0]
    runs = first.startswith(b"#!") and (b"python" in first or b"uv run" in first)
    return runs or b"# /// script" in head


def dotted(node: ast.expr) -> str:
    """Return `a.b.c` for a chain of names, skipping calls in it; else an empty text."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        head = dotted(node.value)
        return f"{head}.{node.attr}" if head else node.attr
    if isinstance(node, ast.Call):
        return dotted(node.func)
    return ""


def uses(sources: Iterable[Source], module: str) -> bool:
    """Whether any file imports this module or one below it."""
    return any(
        name == module or name.startswith(f"{module}.")
        for source in sources
        for name in source.imported
    )


def mocks(sources: Sequence[Source], service: Iterable[str]) -> tuple[str, ...]:
    """Return place and kind of each mock; `service` names the client's modules."""
    finder = _MockFinder(
        service=frozenset(service),
        own_fixtures=fixture_names(sources),
        replaceable={Path(each.name).stem: _code_names(each) for each in sources},
    )
    return tuple(
        dict.fromkeys(
            f"{source.name}: {text}"
            for source in sources
            for text in finder.find(source)
        )
    )


def _code_names(source: Source) -> frozenset[str]:
    """Return the names that a module defines or imports, not those that it assigns."""
    names: set[str] = set()
    for node in source.nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names.update(
                (each.asname or each.name).split(".")[0] for each in node.names
            )
    return frozenset(names)


@dataclass(frozen=True, kw_only=True, slots=True)
class _MockFinder:
    service: frozenset[str]
    own_fixtures: frozenset[str]
    replaceable: Mapping[str, frozenset[str]]
    """The names that must not be replaced, by module of the workspace."""

    def find(self, source: Source) -> Iterator[str]:
        for name in sorted(source.imported):
            if any(name == known or name.startswith(f"{known}.") for known in _MODULES):
                yield f"imports {name}"
                break
        if any("http.server" in text for text in source.strings):
            yield "starts its own server"
        for node in source.nodes:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                if node.name.startswith("test") or source.is_test:
                    names = {
                        arg.arg for arg in (*node.args.args, *node.args.kwonlyargs)
                    }
                    for name in sorted(names & (_FIXTURES - self.own_fixtures)):
                        yield f"{node.name} uses the fixture {name}"
            else:
                yield from self._replaced(node)

    def _replaced(self, node: ast.AST) -> Iterator[str]:
        if isinstance(node, ast.Attribute | ast.Name):
            name = node.attr if isinstance(node, ast.Attribute) else node.id
            if name in _TRANSPORTS:
                yield f"uses {name}"
        elif isinstance(node, ast.Call) and self._patches(node):
            yield f"monkeypatch replaces {_target(node)}"
        elif isinstance(node, ast.ClassDef) and any(
            dotted(base).endswith(_BASES) for base in node.bases
        ):
            yield f"{node.name} is its own transport"

    def _patches(self, node: ast.Call) -> bool:
        """`monkeypatch.setattr` on the service's client or on the agent's own code."""
        if not dotted(node.func).endswith(".setattr") or not node.args:
            return False
        head, *names = _target(node).split(".")
        if head in self.replaceable:
            return bool(names) and names[0] in self.replaceable[head]
        return head in self.service and not (names and names[-1].isupper())


def _target(node: ast.Call) -> str:
    """Return the full name that is set; without its last part if that is computed."""
    first, *others = node.args
    if isinstance(first, ast.Constant):
        return literal_text(first)
    names = [dotted(first), *map(literal_text, others[:1])]
    return ".".join(names).removesuffix(".")


def literal_text(node: ast.expr) -> str:
    """Return the text of a string literal; empty for any other expression."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    return ""
