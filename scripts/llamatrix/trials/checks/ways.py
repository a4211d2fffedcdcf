"""How an agent's scripts and tests may be run: what its own files say of it."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from llamatrix.trials.checks.packages import with_packages
from llamatrix.trials.checks.sources import Source, files, text_of

Words = tuple[str, ...]
_USAGE = re.compile(r"usage:?\s+(.*(?:\n[ \t]+\S.*)*)", re.IGNORECASE)
_OPTIONAL = re.compile(r"\[[^\[\]]*\]")
_MISSING = re.compile(r"following arguments are required: ([^\n]+)")
_CHOICE = re.compile(r"\{([\w,-]+)\}")
_MOST_COMMANDS = 6
_DOCUMENTS = {".md", ".txt", ".rst", ".sh", ""}


def script_ways(
    scripts: Sequence[Source], entry_points: Sequence[str], packages: Words
) -> Iterator[Words]:
    """Every script as it stands, then with packages beside it, as a module of one."""
    yield from ((name,) for name in entry_points)
    for script in scripts:
        yield _plainly(script.name)
    for script in scripts:
        beside = with_packages(packages)
        yield (*beside, "python", script.name)
        if "/" in script.name:
            module = script.name.removeprefix("src/").removesuffix(".py")
            yield (*beside, "python", "-m", module.replace("/", "."))


def _plainly(name: str) -> Words:
    return (name,) if name.endswith(".py") else ("--script", name)


def documented_ways(workspace: Path, scripts: Sequence[Source]) -> Iterator[Words]:
    """`uv run` of a script with arguments, as the workspace's own documents show it."""
    names = {script.name for script in scripts}
    texts = [
        text_of(path)
        for path in files(workspace)
        if path.suffix in _DOCUMENTS and path.name.lower() != "license"
    ]
    texts += [script.text for script in scripts]
    found: dict[Words, None] = {}
    for text in texts:
        for match in re.finditer(r"uv run ([^\n`|;&]+)", text):
            words = tuple(word.strip("'\"") for word in match[1].split())
            if len(words) > 1 and names & set(words):
                found[words] = None
    yield from list(found)[:_MOST_COMMANDS]


def ways_with_arguments(
    way: Words, output: str, values: Mapping[str, str]
) -> Iterator[Words]:
    """The same way with what its own usage message asks for.

    `values` maps a pattern for the argument's name to a value that fits.
    """
    found = _MISSING.search(output)
    usage = _USAGE.search(output)
    shape = " ".join(usage[1].split()) if usage else ""
    wanted = re.split(r",\s*", found[1].strip()) if found else []
    if not wanted and shape:
        program, *rest = _without_optional(shape).split()
        del program
        wanted = [word for word in rest if not word.endswith((".py", ":"))]
    if not wanted:
        return
    choices = [name.split(",") for name in _CHOICE.findall(shape)]
    arguments: list[str] = []
    for name in wanted:
        option = name.split("/")[-1].split()[0]
        listed = _CHOICE.fullmatch(option) or (choices and option.isidentifier())
        value = _value(option, values)
        if value is None and listed and choices:
            value = choices[0][0]
        if value is None:
            value = next(iter(values.values()), "")
        arguments += [option, value] if option.startswith("-") else [value]
    yield (*way, *arguments)


def _without_optional(usage: str) -> str:
    while (shorter := _OPTIONAL.sub(" ", usage)) != usage:
        usage = shorter
    return usage


def _value(name: str, values: Mapping[str, str]) -> str | None:
    plain = name.strip("<>[]-").replace("-", "_").lower()
    for pattern, value in values.items():
        if re.search(pattern, plain):
            return value
    return None
