"""Code quality without a judge: a small fixed set of static findings and counts.

For the published Code Quality table. Nothing here decides whether work passes.
"""

import ast
from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path

from msgspec import Struct

from llamatrix.trials.checks.api_use import api_calls, client_in_function, guarded
from llamatrix.trials.checks.keys import literal_key_lines
from llamatrix.trials.checks.lint import OWN_RUFF, lint
from llamatrix.trials.checks.sources import Source, read_sources


class Aspect(StrEnum):
    """The rows of the published table; TDD has a measure of its own."""

    STRUCTURE = "structure"
    ERROR_HANDLING = "error handling"
    CLEANLINESS = "cleanliness"
    CRITICAL = "critical"


class Flaw(Struct, frozen=True, kw_only=True):
    aspect: Aspect
    rule: str
    """ruff's code, or the name of a rule of ours."""
    file: str
    line: int
    text: str


class Quality(Struct, frozen=True, kw_only=True):
    """Raw counts of the scripts, tests apart; shares are the report's business."""

    scripts: int
    test_files: int
    code_lines: int
    """Lines of the scripts that are neither empty nor a comment."""
    functions: int
    classes: int
    documented: int
    """Functions and classes with a docstring."""
    typed: int
    """Functions of which every argument and the result have a type."""
    api_calls: int
    guarded_api_calls: int
    """Those within a `try` that catches something, or called from one."""
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
        code_lines=sum(_code_lines(each) for each in scripts),
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
                    "no try around this call of the API",
                )
        for call in client_in_function(each):
            yield _flaw(
                Aspect.STRUCTURE,
                "client-per-call",
                each,
                call,
                "a new client for every call of the function",
            )
    for each in dead_files(sources):
        text = "nothing imports it, and it uses nothing"
        yield _flaw(Aspect.STRUCTURE, "dead-file", each, None, text)
    for each in sources:
        for line in literal_key_lines(each):
            yield Flaw(
                aspect=Aspect.CRITICAL,
                rule="hard-coded-key",
                file=each.name,
                line=line,
                text="a key is written out",
            )


_ASPECT_OF = {
    **dict.fromkeys(("C901", "PLR0912", "PLR0915"), Aspect.STRUCTURE),
    **dict.fromkeys(
        ("E722", "BLE001", "S110", "S112", "B904", "S113"), Aspect.ERROR_HANDLING
    ),
    **dict.fromkeys(("F821", "F823", "invalid-syntax"), Aspect.CRITICAL),
}


def dead_files(sources: Sequence[Source]) -> tuple[Source, ...]:
    """Scripts such as the `main.py` that `uv init` makes, beside the real one."""
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


def _code_lines(source: Source) -> int:
    lines = (line.strip() for line in source.text.splitlines())
    return sum(bool(line) and not line.startswith("#") for line in lines)


def _is_typed(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    own = [each for each in arguments if each.arg not in ("self", "cls")]
    return node.returns is not None and all(each.annotation for each in own)
