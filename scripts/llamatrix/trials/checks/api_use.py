"""How code calls a service: which calls, guarded by what, with which client."""

import ast
from collections.abc import Iterator

from llamatrix.trials.checks.sources import Source, dotted

_GENERATING = {
    *("generate_content", "generate_content_stream", "generate_images", "send_message"),
}
HTTP_VERBS = {"get", "post", "put", "patch", "delete", "request", "stream", "send"}
_HTTP_MODULES = {"httpx", "requests", "aiohttp", "urllib3"}
_CLIENTS = {"Client", "AsyncClient", "Session", "ClientSession"}
Function = ast.FunctionDef | ast.AsyncFunctionDef


def api_calls(source: Source) -> tuple[ast.Call, ...]:
    """Calls that go to a service: the SDK's, an HTTP module's, or a client's."""
    return tuple(
        node
        for node in source.nodes
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and _asks(node.func)
    )


def _asks(function: ast.Attribute) -> bool:
    if function.attr in _GENERATING:
        return True
    owner = dotted(function.value).split(".")
    return function.attr in HTTP_VERBS and (
        owner[0] in _HTTP_MODULES
        or owner[-1] in _CLIENTS
        or owner[-1].lower().endswith(("client", "session"))
    )


def guarded(call: ast.Call, source: Source) -> bool:
    """Whether an error of the call is caught where it stands or one call further up."""
    covered = set(_covered(source))
    if call in covered:
        return True
    around = {function.name for function in _functions_around(call, source)}
    return any(
        isinstance(node, ast.Call) and dotted(node.func).split(".")[-1] in around
        for node in covered
    )


def _covered(source: Source) -> Iterator[ast.AST]:
    """Everything in the body of a `try` that has handlers."""
    for node in source.nodes:
        if isinstance(node, ast.Try) and node.handlers:
            for statement in node.body:
                yield from ast.walk(statement)


def _functions_around(node: ast.AST, source: Source) -> Iterator[Function]:
    for function in source.nodes:
        if isinstance(function, Function) and node in set(ast.walk(function)):
            yield function


def client_in_function(source: Source) -> tuple[ast.Call, ...]:
    """Clients made inside the very function that asks the service with them.

    Called for each prompt it makes as many clients; `main` and `__init__` run once.
    """
    return tuple(dict.fromkeys(_clients_per_call(source)))


def _clients_per_call(source: Source) -> Iterator[ast.Call]:
    asking = set(api_calls(source))
    for function in source.nodes:
        if not isinstance(function, Function) or function.name in ("main", "__init__"):
            continue
        inside = list(ast.walk(function))
        if not asking.intersection(inside):
            continue
        for node in inside:
            if (
                isinstance(node, ast.Call)
                and dotted(node.func).split(".")[-1] in _CLIENTS
            ):
                yield node
