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
    functions = [
        node
        for each in scripts
        for node in each.nodes
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    classes = [
        node
        for each in scripts
        for node in each.nodes
        if isinstance(node, ast.ClassDef)
    ]
    documented = [*functions, *classes]
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
        documented=sum(ast.get_docstring(node) is not None for node in documented),
        typed=sum(_is_typed(node) for node in functions),
        api_calls=len(calls),
        guarded_api_calls=sum(guarded(call, each) for each, call in calls),
        uses_pathlib=any("pathlib" in each.imported for each in scripts),
        flaws=tuple(_flaws(workspace, sources, scripts, ruff)),
    )


def _flaws(
    workspace: Path,
    sources: Sequence[Source],
    scripts: Sequence[Source],
    ruff: Sequence[str],
) -> Iterator[Flaw]:
    for rule in lint(workspace, tuple(each.name for each in sources), ruff=ruff):
        yield Flaw(
            aspect=_ASPECT_OF.get(rule.code, Aspect.CLEANLINESS),
            rule=rule.code,
            file=rule.file,
            line=rule.line,
            text=rule.text,
        )
    for each in scripts:
        for call in api_calls(each):
            if not guarded(call, each):
                yield _flaw(
                    Aspect.ERROR_HANDLING,
                    "unguarded-api-call",
                    each,
                    call,
                    "no `try` around this API call",
                )
        for call in client_in_function(each):
            yield _flaw(
                Aspect.STRUCTURE,
                "client-per-call",
                each,
                call,
                "a new client for each call of the function",
            )
    for each in dead_files(sources):
        text = "nothing imports it, and it calls no API"
        yield _flaw(Aspect.STRUCTURE, "dead-file", each, None, text)
    for each in sources:
        for line in literal_key_lines(each):
            yield Flaw(
                aspect=Aspect.CRITICAL,
                rule="hard-coded-key",
                file=each.name,
                line=line,
                text="a key is hard-coded",
            )


_ASPECT_OF = {
    **dict.fromkeys(("C901", "PLR0912", "PLR0915"), Aspect.STRUCTURE),
    **dict.fromkeys(
        ("E722", "BLE001", "S110", "S112", "B904", "S113"), Aspect.ERROR_HANDLING
    ),
    **dict.fromkeys(("F821", "F823", "invalid-syntax"), Aspect.CRITICAL),
}


def dead_files(sources: Sequence[Source]) -> tuple[Source, ...]:
    """Return unused scripts, such as the `main.py` that `uv init` creates."""
    scripts = [each for each in sources if not each.is_test]
    stems = {Path(each.name).stem for each in scripts}
    imported = {
        part for each in sources for name in each.imported for part in name.split(".")
    }
    return tuple(
        each
        for each in scripts
        if len(scripts) > 1
        and Path(each.name).name != "__init__.py"
        and Path(each.name).stem not in imported
        and not api_calls(each)
        and not {name.split(".")[0] for name in each.imported} & stems
    )


def _flaw(
    aspect: Aspect, rule: str, source: Source, node: ast.expr | None, text: str
) -> Flaw:
    line = node.lineno if node else 1
    return Flaw(aspect=aspect, rule=rule, file=source.name, line=line, text=text)


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


def client_in_function(source: Source) -> tuple[ast.Call, ...]:
    """Return the clients that are created in the function that calls the service.

    Such a function creates a client per call; `main` and `__init__` run only once.
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


class Violation(Struct, frozen=True, kw_only=True):
    """A violation of one ruff rule."""

    code: str
    file: str
    """Relative to the workspace."""
    line: int
    text: str


class _Location(Struct):
    row: int


class _Message(Struct):
    code: str | None
    filename: str
    location: _Location
    message: str


def lint(
    workspace: Path, names: tuple[str, ...], *, ruff: Sequence[str] = OWN_RUFF
) -> tuple[Violation, ...]:
    """Return what ruff finds in these files, in order, ignoring `# noqa`."""
    if not names:
        return ()
    flags = [
        *("check", "--isolated", "--no-cache", "--exit-zero", "--ignore-noqa"),
        *("--output-format", "json", "--target-version", "py311"),
        *("--select", ",".join(RULES)),
    ]
    ended = shell.run(
        [*ruff, *flags, "--", *names],
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
        Violation(
            code=each.code or "invalid-syntax",
            file=Path(each.filename).resolve().relative_to(root).as_posix(),
            line=each.location.row,
            text=each.message,
        )
        for each in messages
    )
