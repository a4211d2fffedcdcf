"""Packages that the work imports and declares, and the `uv run` commands for it."""

import re
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from llamatrix.trials.checks.sources import Source, files, text_of

_CLAUSE = r"(?:===|[<>=!~]=|[<>]) ?v?\d[\w.*+!-]*"
_REQUIREMENT = re.compile(
    r"(?=\d*[A-Za-z])(\w(?:[\w.-]*\w)?)(?: ?\[[^\[\]]*\])?"
    rf"(?: ?\(?{_CLAUSE}(?: ?, ?{_CLAUSE})*,?\)?| ?@ ?\S+)?(?: ?;.*| [#\\].*| --.*)?",
    re.ASCII,
)
"""A whole requirement, with the comment or hash behind it in a requirements file."""
_SHELL_WORD = re.compile(
    r"""[ \t]*(?![#<>]|\d+[<>])((?:'[^'\n]*'|"[^"\n]*"|[^\s'"`;&|()]+)+)"""
)
_QUOTED = re.compile(r"""'([^']*)'|"([^"]*)\"""")
_COMMA = re.compile(r",(?=\s*[A-Za-z])(?![^\[\]]{0,80}\])")
"""Between packages, not between extras or the limits of a version."""
_ADD, _WITH = re.compile(r"\buv[ \t]+add\b"), re.compile(r"--with(?:=|[ \t])")
_RUN = re.compile(r"\buv[ \t]+run\b")
_ADD_WITH_VALUE = {
    *("--script", "--group", "--optional", "--extra", "--python", "-p", "--package"),
    *("--requirements", "--requirement", "-r", "--constraints", "--constraint", "-c"),
    *("--marker", "-m", "--index", "--default-index", "--index-url", "-i", "--bounds"),
    *("--extra-index-url", "--find-links", "-f", "--tag", "--branch", "--rev"),
    *("--project", "--directory", "--config-file", "--cache-dir", "--exclude-newer"),
    *("--upgrade-package", "-P", "--reinstall-package", "--refresh-package", "-C"),
    *("--resolution", "--prerelease", "--link-mode", "--index-strategy", "--color"),
    *("--no-build-package", "--no-binary-package", "--no-install-package"),
    *("--config-setting", "--config-settings", "--fork-strategy"),
    *("--keyring-provider", "--allow-insecure-host", "--no-build-isolation-package"),
}
"""Options of `uv add` whose value is the next word."""
_PROSE = {
    *("a", "and", "as", "before", "first", "for", "from", "if", "in", "into", "it"),
    *("on", "or", "so", "that", "the", "then", "this", "to", "when", "which", "with"),
}
"""A sentence goes on after the command that it quotes."""
_REQUIREMENTS = re.compile(r".*requirements.*\.(txt|in)")
_TEXT_SUFFIXES = {".sh", ".md", ".txt", ".toml", ".yaml", ".yml", ""}
Words = tuple[str, ...]
_USAGE = re.compile(r"usage:?\s+(.*(?:\n[ \t]+\S.*)*)", re.IGNORECASE)
_OPTIONAL = re.compile(r"\[[^\[\]]*\]")
_MISSING = re.compile(r"following arguments are required: ([^\n]+)")
_CHOICE = re.compile(r"\{([\w,-]+)\}")
_MOST_COMMANDS = 6
_MOST_WORDS = 1000
_DOCUMENTS = {".md", ".txt", ".rst", ".sh", ""}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def third_party(sources: Iterable[Source], known: Mapping[str, str]) -> tuple[str, ...]:
    """Return the normal names of imported packages, without Python's own and local ones."""
    every = tuple(sources)
    local = {part for each in every for part in Path(each.name).with_suffix("").parts}
    heads = {name.split(".", maxsplit=1)[0] for each in every for name in each.imported}
    outside = heads - local - sys.stdlib_module_names - {"__future__"}
    return tuple(sorted({normal(known.get(head, head)) for head in outside}))


def declared(workspace: Path, commands: Iterable[str] = ()) -> frozenset[str]:
    """Return the packages that a project, script, requirements or `--with` declares."""
    return frozenset(normal(name) for name in _declared(workspace, commands))


def entry_points(workspace: Path) -> tuple[str, ...]:
    """Return the names in `[project.scripts]`."""
    path = workspace / "pyproject.toml"
    project = _toml(text_of(path)).get("project") if path.is_file() else None
    scripts = project.get("scripts") if isinstance(project, dict) else None
    return tuple(scripts) if isinstance(scripts, dict) else ()


def with_packages(packages: Iterable[str]) -> tuple[str, ...]:
    return tuple(word for package in packages for word in ("--with", package))


def named_with(workspace: Path, commands: Iterable[str]) -> frozenset[str]:
    """Return the packages that the work's documents or commands add with `--with`."""
    texts = [
        text_of(path) for path in files(workspace) if path.suffix in _TEXT_SUFFIXES
    ]
    packages = (_on_command_line(text) for text in (*texts, *commands))
    return frozenset(normal(name) for names in packages for name in names)


def in_requirements(workspace: Path) -> frozenset[str]:
    """Return the packages of requirements files, which `uv run` does not read."""
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
        if path.suffix in _TEXT_SUFFIXES:
            yield from _on_command_line(text_of(path))
    for command in commands:
        yield from _on_command_line(command)


def _on_command_line(text: str) -> Iterator[str]:
    for words in _words_after(_WITH, text, most=1):
        for word in words:
            yield from _requested(_COMMA.split(word))
    for words in _words_after(_ADD, text):
        yield from _requested(words)


def _words_after(
    command: re.Pattern[str], text: str, *, most: int = _MOST_WORDS
) -> Iterator[Words]:
    """Yield the shell words that follow each match, up to the end of that command.

    A redirection, a comment or the end of a quotation in prose ends it too.
    """
    joined, at = text.replace("\\\n", " "), 0
    while match := command.search(joined, at):
        at = match.end()
        words: list[str] = []
        while len(words) < most and (word := _SHELL_WORD.match(joined, at)):
            at = word.end()
            words.append(_QUOTED.sub(lambda each: each[1] or each[2] or "", word[1]))
        yield tuple(words)


def _requested(words: Iterable[str]) -> Iterator[str]:
    """Yield the packages among the words of a command, up to one that cannot belong."""
    waiting = iter(words)
    for word in waiting:
        if word.startswith("-"):
            if word in _ADD_WITH_VALUE:
                next(waiting, None)
            continue
        names = () if word.lower() in _PROSE else tuple(_names([word]))
        if not names and "/" not in word:  # a folder or a URL names no package
            return
        yield from names


def _in_project(path: Path) -> Iterator[str]:
    read = _toml(text_of(path))
    yield from _names(_strings_under(read, ("dependencies", "optional-dependencies")))
    yield from _names(_strings_under(read, ("dependency-groups", "dev-dependencies")))


def _in_script(text: str) -> Iterator[str]:
    """Yield the dependencies of a script's inline metadata (PEP 723)."""
    for inner in _script_blocks(text):
        yield from _names(_strings_under(_toml(inner), ("dependencies",)))


def _toml(text: str) -> dict[str, object]:
    """Return the tables of a TOML document; none where it is invalid."""
    try:
        return tomllib.loads(text)
    except ValueError:  # not TOML, or a number with too many digits
        return {}


def _script_blocks(text: str) -> Iterator[str]:
    """Yield the TOML between `# /// script` and the next `# ///`, in linear time."""
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
    """Yield every string below one of the keys."""
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
        if match := _REQUIREMENT.fullmatch(" ".join(line.split())):
            yield match[1]


def script_commands(
    scripts: Sequence[Source], entry_points: Sequence[str], packages: Words
) -> Iterator[Words]:
    """Yield `uv run` commands for each script: as it is, with packages, as a module."""
    yield from ((name,) for name in entry_points)
    for script in scripts:
        name = script.name
        yield (name,) if name.endswith(".py") else ("--script", name)
    for script in scripts:
        beside = with_packages(packages)
        yield (*beside, "python", script.name)
        if "/" in script.name:
            module = script.name.removeprefix("src/").removesuffix(".py")
            yield (*beside, "python", "-m", module.replace("/", "."))


def documented_commands(workspace: Path, scripts: Sequence[Source]) -> Iterator[Words]:
    """Yield the `uv run` commands of a script that the workspace's documents show."""
    names = {script.name for script in scripts}
    texts = [
        text_of(path)
        for path in files(workspace)
        if path.suffix in _DOCUMENTS and path.name.lower() != "license"
    ]
    texts += [script.text for script in scripts]
    commands: dict[Words, None] = {}
    for text in texts:
        for words in _words_after(_RUN, text):
            if len(words) > 1 and names & set(words):
                commands[words] = None
    yield from list(commands)[:_MOST_COMMANDS]


def commands_with_arguments(
    command: Words, output: str, values: Mapping[str, str]
) -> Iterator[Words]:
    """Yield the command with the arguments that its usage message asks for.

    `values` maps a pattern of the argument's name to a suitable value.
    """
    match = _MISSING.search(output)
    usage = _USAGE.search(output)
    shape = " ".join(usage[1].split()) if usage else ""
    wanted = re.split(r",\s*", match[1].strip()) if match else []
    if not wanted and shape:
        required = shape
        while (shorter := _OPTIONAL.sub(" ", required)) != required:
            required = shorter
        words = required.split()[1:]  # after the program
        wanted = [word for word in words if not word.endswith((".py", ":"))]
    if not wanted:
        return
    choices = [name.split(",") for name in _CHOICE.findall(shape)]
    arguments: list[str] = []
    options = ("".join(name.strip("/").split("/")[-1].split()[:1]) for name in wanted)
    for option in filter(None, options):
        listed = _CHOICE.fullmatch(option) or (choices and option.isidentifier())
        value = _value(option, values)
        if value is None and listed and choices:
            value = choices[0][0]
        if value is None:
            value = next(iter(values.values()), "")
        arguments += [option, value] if option.startswith("-") else [value]
    yield (*command, *arguments)


def _value(name: str, values: Mapping[str, str]) -> str | None:
    plain = name.strip("<>[]-").replace("-", "_").lower()
    for pattern, value in values.items():
        if re.search(pattern, plain):
            return value
    return None
