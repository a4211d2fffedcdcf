"""Static evidence that a key stands in the code."""

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from llamatrix.measure.judging.redact import redact
from llamatrix.measure.judging.sources import Source, dotted, files, text_of

_NAME = re.compile(
    r"(api_?key|access_?key|auth_?token|secret|password)s?$", re.IGNORECASE
)
_TEXT_SUFFIXES = {
    *(".py", ".toml", ".json", ".md", ".txt", ".sh", ".yaml", ".yml", ".cfg", ".ini"),
    *(".ipynb", ""),
}
_SHORTEST_KEY = 16


def hard_coded_keys(
    workspace: Path, sources: Iterable[Source], secrets: Iterable[str]
) -> tuple[str, ...]:
    """Where a key stands written out; never the key itself.

    Hidden files are not looked at: `.env` is where a key may lie.
    """
    known = tuple(secret for secret in secrets if secret)
    found = [*_in_texts(workspace, known)]
    for source in sources:
        found.extend(f"{source.name}, line {n}" for n in literal_key_lines(source))
    return tuple(dict.fromkeys(found))


def _in_texts(workspace: Path, secrets: tuple[str, ...]) -> Iterator[str]:
    for path in files(workspace):
        if path.name.startswith(".") or path.suffix not in _TEXT_SUFFIXES:
            continue
        for number, line in enumerate(text_of(path).splitlines(), 1):
            if redact(line, secrets) != line:
                yield f"{path.relative_to(workspace).as_posix()}, line {number}"


def literal_key_lines(source: Source) -> tuple[int, ...]:
    """Lines that give a name like `api_key` a literal that looks like a real key."""
    return tuple(sorted(set(_literal_lines(source))))


def _literal_lines(source: Source) -> Iterator[int]:
    for node in source.nodes:
        for name, value in _bindings(node):
            if (
                _NAME.search(name)
                and isinstance(value, ast.Constant)
                and isinstance(value.value, str)
                and _looks_real(value.value)
            ):
                yield value.lineno


def _bindings(node: ast.AST) -> Iterator[tuple[str, ast.expr | None]]:
    """Every (name, value) that an assignment, argument, default or pair makes."""
    if isinstance(node, ast.Assign):
        yield from ((_name(target), node.value) for target in node.targets)
    elif isinstance(node, ast.AnnAssign):
        yield _name(node.target), node.value
    elif isinstance(node, ast.keyword):
        yield node.arg or "", node.value
    elif isinstance(node, ast.Dict):
        for key, value in zip(node.keys, node.values, strict=True):
            yield _name(key) if key else "", value
    elif isinstance(node, ast.Call) and len(node.args) > 1:
        yield _name(node.args[-2]), node.args[-1]  # os.environ.setdefault("KEY", "…")
    elif isinstance(node, ast.arguments):
        named = (*node.posonlyargs, *node.args)
        for arg, default in zip(reversed(named), reversed(node.defaults), strict=False):
            yield arg.arg, default


def _name(node: ast.expr) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.Subscript):
        return _name(node.slice)
    return dotted(node)


def _looks_real(text: str) -> bool:
    """Long, without spaces, letters and digits mixed: not `your-api-key-here`."""
    return (
        len(text) >= _SHORTEST_KEY
        and not re.search(r"\s", text)
        and any(c.isdigit() for c in text)
        and any(c.isalpha() for c in text)
    )
