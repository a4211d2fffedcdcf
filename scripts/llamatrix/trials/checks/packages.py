"""Which packages the code imports, and whether somebody declared them."""

import re
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from llamatrix.trials.checks.sources import Source, files, text_of

_REQUIREMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_WITH = re.compile(r"--with(?:=|\s+)['\"]?([^\s'\"]+)|uv\s+add\s+([^\n;&|]+)")
_REQUIREMENTS = re.compile(r".*requirements.*\.(txt|in)")
_SAID_IN = {".sh", ".md", ".txt", ".toml", ".yaml", ".yml", ""}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def third_party(sources: Iterable[Source], known: Mapping[str, str]) -> tuple[str, ...]:
    """Packages imported, by their normal names: neither Python's own nor local ones."""
    every = tuple(sources)
    local = {part for each in every for part in Path(each.name).with_suffix("").parts}
    heads = {name.split(".", maxsplit=1)[0] for each in every for name in each.imported}
    outside = heads - local - sys.stdlib_module_names - {"__future__"}
    return tuple(sorted({normal(known.get(head, head)) for head in outside}))


def declared(workspace: Path, commands: Iterable[str] = ()) -> frozenset[str]:
    """Packages that project, script, requirements or a `uv run --with` name."""
    return frozenset(normal(name) for name in _declared(workspace, commands))


def entry_points(workspace: Path) -> tuple[str, ...]:
    """Names under which the project's own programs are run: `[project.scripts]`."""
    try:
        read = tomllib.loads(text_of(workspace / "pyproject.toml"))
        return tuple(read["project"]["scripts"])
    except (OSError, tomllib.TOMLDecodeError, KeyError, TypeError):
        return ()


def with_packages(packages: Iterable[str]) -> tuple[str, ...]:
    """Uv's words for packages that are put beside the project's own."""
    return tuple(word for package in packages for word in ("--with", package))


def named_with(workspace: Path, commands: Iterable[str]) -> frozenset[str]:
    """Packages that the work's documents or commands put beside it by `--with`."""
    texts = [text_of(path) for path in files(workspace) if path.suffix in _SAID_IN]
    found = (_on_command_line(text) for text in (*texts, *commands))
    return frozenset(normal(name) for names in found for name in names)


def in_requirements(workspace: Path) -> frozenset[str]:
    """Packages of `requirements.txt` and its like, which `uv run` does not read."""
    return frozenset(
        normal(name)
        for path in files(workspace)
        if _REQUIREMENTS.fullmatch(path.name)
        for name in _names(text_of(path).splitlines())
    )


def _declared(workspace: Path, commands: Iterable[str]) -> Iterator[str]:
    for path in files(workspace):
        if path.name == "pyproject.toml":
            yield from _in_project(path)
        elif path.suffix in (".py", ""):
            yield from _in_script(text_of(path))
        elif _REQUIREMENTS.fullmatch(path.name):
            yield from _names(text_of(path).splitlines())
        if path.suffix in _SAID_IN:
            yield from _on_command_line(text_of(path))
    for command in commands:
        yield from _on_command_line(command)


def _on_command_line(text: str) -> Iterator[str]:
    for match in _WITH.finditer(text):
        yield from _names(re.split(r"[,\s]+", match[1] or match[2]))


def _in_project(path: Path) -> Iterator[str]:
    try:
        read = tomllib.loads(text_of(path))
    except tomllib.TOMLDecodeError:
        return
    yield from _names(_strings_under(read, ("dependencies", "optional-dependencies")))
    yield from _names(_strings_under(read, ("dependency-groups", "dev-dependencies")))


def _in_script(text: str) -> Iterator[str]:
    """Inline metadata of a script: PEP 723."""
    for inner in _script_blocks(text):
        try:
            read = tomllib.loads(inner)
        except tomllib.TOMLDecodeError:
            continue
        yield from _names(_strings_under(read, ("dependencies",)))


def _script_blocks(text: str) -> Iterator[str]:
    """The TOML between `# /// script` and the next `# ///`, in linear time."""
    block: list[str] | None = None
    for line in text.split("\n"):
        if block is None:
            block = [] if line.rstrip() == "# /// script" else None
        elif line.rstrip() == "# ///":
            yield "\n".join(block)
            block = None
        elif line.startswith("#"):
            block.append(line.removeprefix("#").removeprefix(" "))
        else:
            block = None


def _strings_under(
    value: object, keys: tuple[str, ...], *, within: bool = False
) -> Iterator[str]:
    """Every string somewhere below one of the keys."""
    if isinstance(value, str) and within:
        yield value
    elif isinstance(value, list):
        for each in value:
            yield from _strings_under(each, keys, within=within)
    elif isinstance(value, dict):
        for key, each in value.items():
            yield from _strings_under(each, keys, within=within or key in keys)


def _names(lines: Iterable[str]) -> Iterator[str]:
    for line in lines:
        if match := _REQUIREMENT.match(line.strip().strip("'\"")):
            yield match[0]
