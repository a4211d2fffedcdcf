"""The Python files of a workspace, and what their syntax trees tell."""

import ast
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

_LARGEST_BYTES = 1 << 20


@dataclass(frozen=True)
class Source:
    """One Python file; `tree` is None where it cannot be parsed."""

    name: str
    """Relative to the workspace."""
    text: str

    @cached_property
    def tree(self) -> ast.Module | None:
        try:
            return ast.parse(self.text)
        except (SyntaxError, ValueError, RecursionError):
            return None

    @cached_property
    def nodes(self) -> tuple[ast.AST, ...]:
        return tuple(ast.walk(self.tree)) if self.tree else ()

    @cached_property
    def is_test(self) -> bool:
        """Whether it holds tests pytest can run, whatever the file is called."""
        return self.is_conftest or any(
            isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            and node.name.startswith("test")
            for node in self.nodes
        )

    @property
    def is_conftest(self) -> bool:
        return Path(self.name).name == "conftest.py"

    @cached_property
    def imported(self) -> frozenset[str]:
        """Full names of modules, `from a import b` as both `a` and `a.b`."""
        return frozenset(_imported(self.nodes))

    @cached_property
    def strings(self) -> tuple[str, ...]:
        """Every string literal that is not a docstring."""
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


def _imported(nodes: tuple[ast.AST, ...]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def files(workspace: Path) -> tuple[Path, ...]:
    """Ordinary files outside hidden folders; links are not followed."""
    return tuple(sorted(_files(workspace)))


def is_installed(folder: Path) -> bool:
    """Made by Python or a package manager: a virtual environment has any name."""
    made = folder.name in {"__pycache__", "node_modules"}
    return made or (folder / "pyvenv.cfg").is_file()


def _files(folder: Path) -> Iterator[Path]:
    for here, folders, names in os.walk(folder):
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".") and not is_installed(Path(here, name))
        ]
        for name in names:
            path = Path(here, name)
            if stat.S_ISREG(path.lstat().st_mode):
                yield path


def text_of(path: Path) -> str:
    """The file's text; empty where it is larger than anything written by hand."""
    if path.stat().st_size > _LARGEST_BYTES:
        return ""
    return path.read_text(errors="replace")


def read_sources(workspace: Path) -> tuple[Source, ...]:
    return tuple(
        Source(
            name=path.relative_to(workspace).as_posix(),
            text=text_of(path),
        )
        for path in files(workspace)
        if path.suffix == ".py"
    )


def dotted(node: ast.expr) -> str:
    """`a.b.c` for a chain of names, calls in it passed over; empty for others."""
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
