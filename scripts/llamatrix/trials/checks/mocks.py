"""Static evidence that a service was replaced by a mock."""

import ast
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from llamatrix.trials.checks.sources import Source, dotted, fixture_names

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


def mocks(sources: Sequence[Source], service: Iterable[str]) -> tuple[str, ...]:
    """Where and how each mock comes in; `service` names the client's modules."""
    look = _Look(
        service=frozenset(service),
        own_fixtures=fixture_names(sources),
        replaceable={Path(each.name).stem: _code_names(each) for each in sources},
    )
    return tuple(
        dict.fromkeys(
            f"{source.name}: {text}" for source in sources for text in look.at(source)
        )
    )


def _code_names(source: Source) -> frozenset[str]:
    """What a module defines or imports: not its settings, which are assigned."""
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
class _Look:
    service: frozenset[str]
    own_fixtures: frozenset[str]
    replaceable: Mapping[str, frozenset[str]]
    """For each module of the workspace, what must not be replaced in it."""

    def at(self, source: Source) -> Iterator[str]:
        for name in sorted(source.imported):
            if any(name == known or name.startswith(f"{known}.") for known in _MODULES):
                yield f"imports {name}"
                break
        if any("http.server" in text for text in source.strings):
            yield "starts a server of its own"
        for node in source.nodes:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                if node.name.startswith("test") or source.is_test:
                    asked = {
                        arg.arg for arg in (*node.args.args, *node.args.kwonlyargs)
                    }
                    for name in sorted(asked & (_FIXTURES - self.own_fixtures)):
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
            yield f"{node.name} is a transport of its own"

    def _patches(self, node: ast.Call) -> bool:
        """`monkeypatch.setattr` on the service's client or on the agent's own code."""
        if not dotted(node.func).endswith(".setattr") or not node.args:
            return False
        head, *between, last = _target(node).split(".")
        if head in self.replaceable:
            return (between or [last])[0] in self.replaceable[head]
        return head in self.service and not last.isupper()


def _target(node: ast.Call) -> str:
    first = node.args[0]
    if isinstance(first, ast.Constant):
        return str(first.value)
    names = [dotted(first)]
    if len(node.args) > 1 and isinstance(node.args[1], ast.Constant):
        names.append(str(node.args[1].value))
    return ".".join(names)
