"""Static evidence that a service was replaced by a mock."""

import ast
from collections.abc import Iterable, Iterator

from llamatrix.measure.judging.sources import Source, dotted

_MODULES = {
    *("unittest.mock", "mock", "respx", "responses", "pytest_httpx", "pytest_mock"),
    *("requests_mock", "httpretty", "vcr", "pytest_recording", "betamax", "mockito"),
    *("flexmock", "aioresponses", "pook", "mocket", "doublex"),
}
_FIXTURES = {
    *("mocker", "class_mocker", "module_mocker", "session_mocker"),
    *("httpx_mock", "respx_mock", "requests_mock", "responses"),
}
_TRANSPORTS = {"MockTransport", "ASGITransport", "WSGITransport"}


def mocks(sources: Iterable[Source], service: Iterable[str]) -> tuple[str, ...]:
    """Where and how each mock comes in; `service` names the client's modules."""
    heads = frozenset(service)
    return tuple(
        dict.fromkeys(
            f"{source.name}: {text}"
            for source in sources
            for text in _in_source(source, heads)
        )
    )


def _in_source(source: Source, service: frozenset[str]) -> Iterator[str]:
    for name in sorted(source.imported):
        if any(name == known or name.startswith(f"{known}.") for known in _MODULES):
            yield f"imports {name}"
            break
    for node in source.nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            asked = {arg.arg for arg in (*node.args.args, *node.args.kwonlyargs)}
            for name in sorted(asked & _FIXTURES):
                if node.name.startswith("test") or source.is_test:
                    yield f"{node.name} uses the fixture {name}"
        elif isinstance(node, ast.Attribute | ast.Name):
            name = node.attr if isinstance(node, ast.Attribute) else node.id
            if name in _TRANSPORTS:
                yield f"uses {name}"
        elif isinstance(node, ast.Call) and _patches(node, service, source):
            yield f"monkeypatch replaces {_target(node)}"


def _patches(node: ast.Call, service: frozenset[str], source: Source) -> bool:
    """`monkeypatch.setattr` on the service's client or on the agent's own code."""
    if not dotted(node.func).endswith("monkeypatch.setattr") or not node.args:
        return False
    head, *_, last = _target(node).split(".")
    if last.isupper():  # a constant: where images go, not who makes them
        return False
    local = {name.split(".", maxsplit=1)[0] for name in source.imported}
    return head in service or (head in local and head not in ("os", "sys", "pathlib"))


def _target(node: ast.Call) -> str:
    first = node.args[0]
    if isinstance(first, ast.Constant):
        return str(first.value)
    names = [dotted(first)]
    if len(node.args) > 1 and isinstance(node.args[1], ast.Constant):
        names.append(str(node.args[1].value))
    return ".".join(names)
