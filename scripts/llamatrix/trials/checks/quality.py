"""Code quality without an LLM judge: a small fixed set of static findings and counts.

The Code Quality table uses it. Nothing here decides whether work passes.
"""

import ast
import sys
from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path

import msgspec
from msgspec import Struct

from llamatrix import shell
from llamatrix.errors import MeasureError
from llamatrix.trials.checks.keys import literal_key_lines
from llamatrix.trials.checks.sources import Source, dotted, read_sources

RULES = (
    *("F", "E711", "E712", "E722", "B", "SIM", "PTH"),
    *("C901", "PLR0912", "PLR0915", "BLE001", "S110", "S112", "S113"),
)
"""A change here changes a published column: increase MEASUREMENT_VERSION with it."""
OWN_RUFF = (sys.executable, "-m", "ruff")
_TIMEOUT_S = 60
_GENERATING = {
    *("generate_content", "generate_content_stream", "generate_images", "send_message"),
}
HTTP_VERBS = {"get", "post", "put", "patch", "delete", "request", "stream", "send"}
_HTTP_MODULES = {"httpx", "requests", "aiohttp", "urllib3"}
_SYNTAX = "invalid-syntax"
"""In place of a code, which older versions of ruff leave out."""
_CLIENTS = {"Client", "AsyncClient", "Session", "ClientSession"}
Function = ast.FunctionDef | ast.AsyncFunctionDef


class Aspect(StrEnum):
    """The rows of the published table; `tdd.py` measures the remaining one."""

    STRUCTURE = "structure"
    ERROR_HANDLING = "error handling"
    CLEANLINESS = "cleanliness"
    CRITICAL = "critical"


class Flaw(Struct, frozen=True, kw_only=True):
    aspect: Aspect
    rule: str
    """ruff's code, or the name of our own rule."""
    file: str
    line: int
    text: str


class Quality(Struct, frozen=True, kw_only=True):
    """Raw counts of the scripts without tests; the report computes shares."""

    scripts: int
    test_files: int
    code_lines: int
    """Lines that are neither empty nor a comment."""
    functions: int
    classes: int
    documented: int
    """Functions and classes with a docstring."""
    typed: int
    """Functions with a type for every argument and the result."""
    api_calls: int
    guarded_api_calls: int
    """API calls within a `try` that catches something, or called from one."""
    uses_pathlib: bool
    flaws: tuple[Flaw, ...]


def quality(workspace: Path, *, ruff: Sequence[str] = OWN_RUFF) -> Quality:
    sources = read_sources(workspace)
    scripts = tuple(each for each in sources if not each.is_test)
    nodes = [node for each in scripts for node in each.nodes]
    functions = [node for node in nodes if isinstance(node, Function)]
    classes = [node for node in nodes if isinstance(node, ast.ClassDef)]
    calls = [(each, call) for each in scripts for call in api_calls(each)]
    return Quality(
        scripts=len(scripts),
        test_files=len(sources) - len(scripts),
        code_lines=sum(
            bool(line.strip()) and not line.strip().startswith("#")
            for each in scripts
            for line in each.text.splitlines()
        ),
        functions=len(functions),
        classes=len(classes),
        documented=sum(
            ast.get_docstring(node) is not None for node in (*functions, *classes)
        ),
        typed=sum(_is_typed(node) for node in functions),
        api_calls=len(calls),
        guarded_api_calls=sum(guarded(call, each) for each, call in calls),
        uses_pathlib=any("pathlib" in each.imported for each in scripts),
        flaws=(*_lint(workspace, sources, ruff), *_own_flaws(sources, scripts)),
    )


_ASPECT_OF = {
    **dict.fromkeys(("C901", "PLR0912", "PLR0915"), Aspect.STRUCTURE),
    **dict.fromkeys(
        ("E722", "BLE001", "S110", "S112", "B904", "S113"), Aspect.ERROR_HANDLING
    ),
    **dict.fromkeys(("F821", "F823", _SYNTAX), Aspect.CRITICAL),
}


def _own_flaws(sources: Sequence[Source], scripts: Sequence[Source]) -> Iterator[Flaw]:
    for each in scripts:
        for call in api_calls(each):
            if not guarded(call, each):
                text = "no `try` around this API call"
                aspect, line = Aspect.ERROR_HANDLING, call.lineno
                yield _flaw(aspect, "unguarded-api-call", each, line, text)
        for call in dict.fromkeys(_clients_per_call(each)):
            text = "a new client for each call of the function"
            yield _flaw(Aspect.STRUCTURE, "client-per-call", each, call.lineno, text)
    for each in _dead_files(sources, scripts):
        text = "nothing imports it, and it calls no API"
        yield _flaw(Aspect.STRUCTURE, "dead-file", each, 1, text)
    for each in sources:
        for line in literal_key_lines(each):
            text = "a key is hard-coded"
            yield _flaw(Aspect.CRITICAL, "hard-coded-key", each, line, text)


def _flaw(aspect: Aspect, rule: str, source: Source, line: int, text: str) -> Flaw:
    return Flaw(aspect=aspect, rule=rule, file=source.name, line=line, text=text)


def _dead_files(
    sources: Sequence[Source], scripts: Sequence[Source]
) -> Iterator[Source]:
    stems = {Path(each.name).stem for each in scripts}
    imported = {
        part for each in sources for name in each.imported for part in name.split(".")
    }
    for each in scripts if len(scripts) > 1 else ():
        path = Path(each.name)
        heads = {name.split(".")[0] for name in each.imported}
        unused = path.name != "__init__.py" and path.stem not in imported
        if unused and not api_calls(each) and not heads & stems:
            yield each


def _is_typed(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    own = [each for each in arguments if each.arg not in ("self", "cls")]
    return node.returns is not None and all(each.annotation for each in own)


def api_calls(source: Source) -> tuple[ast.Call, ...]:
    """Return the calls of a service: the SDK's, an HTTP module's, or a client's."""
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
    """Whether an error of the call is caught in place or by a caller."""
    covered = {
        inner
        for node in source.nodes
        if isinstance(node, ast.Try) and node.handlers
        for statement in node.body
        for inner in ast.walk(statement)
    }
    if call in covered:
        return True
    around = {
        node.name
        for node in source.nodes
        if isinstance(node, Function) and call in set(ast.walk(node))
    }
    return any(
        isinstance(node, ast.Call) and dotted(node.func).split(".")[-1] in around
        for node in covered
    )


def _clients_per_call(source: Source) -> Iterator[ast.Call]:
    """Yield the clients that are created in the function that calls the service.

    Such a function creates a client per call; `main` and `__init__` run only once.
    """
    asking = set(api_calls(source))
    for function in source.nodes:
        if not isinstance(function, Function) or function.name in ("main", "__init__"):
            continue
        inside = list(ast.walk(function))
        for node in inside if asking.intersection(inside) else ():
            if (
                isinstance(node, ast.Call)
                and dotted(node.func).split(".")[-1] in _CLIENTS
            ):
                yield node


class _Location(Struct):
    row: int


class _Message(Struct):
    code: str | None
    filename: str
    location: _Location
    message: str


def _lint(
    workspace: Path, sources: Sequence[Source], ruff: Sequence[str]
) -> tuple[Flaw, ...]:
    """Return what ruff finds in these files, in order, ignoring `# noqa`."""
    if not sources:
        return ()
    flags = [
        *("check", "--isolated", "--no-cache", "--exit-zero", "--ignore-noqa"),
        *("--output-format", "json", "--target-version", "py311"),
        *("--select", ",".join(RULES)),
    ]
    ended = shell.run(
        [*ruff, *flags, "--", *(each.name for each in sources)],
        cwd=workspace,
        env={"RAYON_NUM_THREADS": "2"},  # every thread counts against the memory limit
        timeout_s=_TIMEOUT_S,
    )
    try:
        messages = msgspec.json.decode(ended.out, type=tuple[_Message, ...])
    except msgspec.MsgspecError as error:
        raise MeasureError(f"ruff printed no JSON: {ended.complaint()}") from error
    root = workspace.resolve()
    return tuple(
        Flaw(
            aspect=_ASPECT_OF.get(code := each.code or _SYNTAX, Aspect.CLEANLINESS),
            rule=code,
            file=Path(each.filename).resolve().relative_to(root).as_posix(),
            line=each.location.row,
            text=each.message,
        )
        for each in messages
    )
