"""Whether a shell command runs tests, and nothing that could speak in their name."""

import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")
_SPLITS = {";", "&&", "||", "|", "&", "|&", "\n"}
_SILENT = {
    *("cd", "export", "set", "source", ".", "mkdir", "touch", "rm", "sleep", "true"),
    *("tail", "head", "tee", "grep", "ls", "pwd", "git", "uv", "pip", "chmod", "wait"),
}
"""Programs whose output is their own, or a part of what the tests wrote."""
_RUNNERS = {"pytest", "py.test"}
_WRAPPERS = {"env", "time", "nice", "timeout", "stdbuf", "unbuffer"}
_RUN_WITH_VALUE = {
    *("--with", "--group", "--extra", "--python", "-p", "--project", "--directory"),
    *("--with-requirements", "--with-editable", "--env-file", "--package", "--index"),
}
_MISLEADING = re.compile(r"\(\)|\balias\b|`|\$\(|<\(|\bPATH=|\bPYTHON\w+=|\beval\b")
_TEST_FILE = re.compile(r"(test_\w+|\w+_test)\.py")
_END_OF_HERE = re.compile(r"<<-?[ \t]*['\"]?(\w+)['\"]?")


def runs_tests_only(command: str) -> bool:
    """Whether a test runner's words are all that its output can be.

    `echo "1 failed"` runs none; `pytest; echo "1 failed"` runs one, and something that
    speaks in its name.
    """
    text = "\n".join(_without_documents(command))
    if _MISLEADING.search(text):
        return False
    try:
        parts = list(_parts(text))
    except ValueError:  # an open quote
        return False
    kinds = [_kind(words) for words in parts if words]
    return "runner" in kinds and "other" not in kinds


def _without_documents(command: str) -> Iterator[str]:
    """The command's lines but for the texts of here-documents."""
    lines = iter(command.split("\n"))
    for line in lines:
        end = _END_OF_HERE.search(line)
        yield _END_OF_HERE.sub("", line)
        if end:
            for inner in lines:
                if inner.strip() == end[1]:
                    break


def _parts(text: str) -> Iterator[list[str]]:
    for line in text.split("\n"):
        words: list[str] = []
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        for word in lexer:
            if word in _SPLITS:
                yield words
                words = []
            else:
                words.append(word)
        yield words


def _kind(words: Sequence[str]) -> str:  # noqa: PLR0911  one for each kind
    rest = list(_without_prefix(words))
    if not rest:
        return "silent"
    program, *arguments = rest
    if program == "uv" and arguments[:1] == ["run"]:
        return _kind(_after_options(arguments[1:])) or "other"
    if program == "uvx":
        return _kind(_after_options(arguments))
    name = PurePosixPath(program).name
    if name in _RUNNERS and ("/" not in program or "/bin/" in program):
        return "runner"
    if name.startswith("python"):
        return "runner" if _is_test_module(arguments) else "other"
    if name in ("cat", "echo", "printf") and ">" in arguments:
        return "silent"
    return "silent" if program in _SILENT else "other"


def _without_prefix(words: Sequence[str]) -> Iterator[str]:
    """Without assignments, and programs that only start another one."""
    waiting = list(words)
    while waiting and (
        _ASSIGNMENT.match(waiting[0])
        or waiting[0] in _WRAPPERS
        or re.fullmatch(r"-\w+|\d+[smh]?", waiting[0])
    ):
        waiting.pop(0)
    yield from waiting


def _after_options(words: Sequence[str]) -> list[str]:
    waiting = list(words)
    while waiting and waiting[0].startswith("-"):
        option = waiting.pop(0)
        if option in _RUN_WITH_VALUE and waiting:
            waiting.pop(0)
    return waiting


def _is_test_module(arguments: Sequence[str]) -> bool:
    rest = [word for word in arguments if word not in ("-u", "-B", "-P", "-I")]
    if rest[:1] == ["-m"]:
        return rest[1:2] in (["pytest"], ["unittest"])
    return bool(rest) and bool(_TEST_FILE.fullmatch(PurePosixPath(rest[0]).name))
