"""The Python files that a shell command writes, as far as its text tells.

A command is not run. The text of a file is known where `echo`, `printf` or a
here-document gives it. Where a program computes or changes it, only the name is known.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count, pairwise
from pathlib import PurePosixPath

_HERE = re.compile(r"(?<!<)<<(-?)[ \t]*['\"]?(\w[\w.-]*)['\"]?")
_TOKEN = re.compile(
    r"""
    (?:(?<=\s)|\A)\#[^\n]*
    | (?P<operator>\d*[<>]+[&|]?|&>>?|[;&|()`\n]+)
    | (?P<word>(?:'[^']*'|"(?:\\.|[^"\\])*"|\\.|[^\s'"\\;&|()<>`]+)+)
    """,
    re.VERBOSE | re.DOTALL,
)
_QUOTED = re.compile(r"""'([^']*)'|"((?:\\.|[^"\\])*)"|\\(.)""", re.DOTALL)
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")
_OPTION = re.compile(r"-|\d+[smh]?\Z|\{\}\Z")
_ESCAPE = re.compile(r"\\([nt])")
_ESCAPED = {"n": "\n", "t": "\t"}
_STARTERS = {
    *("uv", "uvx", "env", "time", "nice", "timeout", "stdbuf", "sudo", "xargs", "git"),
    *("command", "exec", "if", "then", "else", "while", "do", "!", "{", ")", "run"),
}
"""What may stand before a program's name."""
RUN_WITH_VALUE = {
    *("--with", "--group", "--extra", "--python", "-p", "--project", "--directory"),
    *("--with-requirements", "--with-editable", "--env-file", "--package", "--index"),
}
"""Options of `uv run` whose value is the next word."""
_COPIERS = {"mv", "cp", "install", "ln", "rsync"}
_SHELLS = {"sh", "bash", "dash", "zsh", "eval"}
_PATCHERS = {"patch", "apply"}
_EDITORS = {"sed", "perl", "ed", "ex"}
_STREAM_EDITORS = {"sed", "perl"}
_IN_PLACE = re.compile(r"-\w*i|--in-place")
_WRITES = re.compile(
    r"\bwrite|copy|rename|os\.replace|shutil|fileinput|subprocess|os\.system"
    r"|open\([^)\n]{0,200}['\"](?:[wax]|r?b?\+)[bt+]{0,2}['\"]"
)
"""Python code that may write a file."""
_PYTHON_FILE = re.compile(r"(?<![\w./-])[\w./-]{1,300}\.py\b")
_DEEPEST = 3


@dataclass
class _Command:
    words: list[str] = field(default_factory=list)
    targets: list[str] = field(default_factory=list)
    """The files that its output goes to."""
    appended: set[str] = field(default_factory=set)
    """Those among them that it is appended to."""
    given: str | None = None
    """Its standard input; None where it is not known."""


def written_files(
    command: str, texts: Mapping[str, str], *, depth: int = 0
) -> Iterator[tuple[str, str | None]]:
    """Yield name and text of the Python files that a command writes, in its order.

    `texts` are those known before, by name. A text that cannot be known is None.
    """
    for each in _commands(command, texts):
        program, arguments = _program(each.words)
        output = _output(program, arguments, each.given, texts)
        written = [(path, output) for path in each.targets]
        written += _written_by(program, arguments, each.given, texts)
        for path, text in written:
            name = _name(path)
            if name.endswith(".py"):
                before = texts.get(name, "") if path in each.appended else ""
                yield name, None if text is None else before + text
        if program in _SHELLS and depth < _DEEPEST:
            code = " ".join(arguments) if program == "eval" else ""
            code = code or _code(arguments, each.given)
            yield from written_files(code, texts, depth=depth + 1)


def _written_by(
    program: str, arguments: Sequence[str], given: str | None, texts: Mapping[str, str]
) -> Iterator[tuple[str, str | None]]:
    """Yield what a program writes other than its output; any file may be named."""
    files = [word for word in arguments if not word.startswith("-")]
    named = [b for a, b in pairwise(arguments) if a in ("-o", "-O", "--output")]
    if program == "tee":
        yield from ((path, given) for path in files)
    elif program == "dd":
        named += [word.removeprefix("of=") for word in files]
    elif program in _COPIERS:
        yield from _copied(files, texts)
    elif program in _PATCHERS:
        text = " ".join((given or "", *files))
        named += _PYTHON_FILE.findall(text) or ["patched.py"]
    elif program in _EDITORS:
        in_place = any(map(_IN_PLACE.match, arguments))
        named += files if in_place or program not in _STREAM_EDITORS else []
    elif program == "uv" or program.startswith("python"):
        code = _code(arguments, given)
        if _WRITES.search(code):
            named += _PYTHON_FILE.findall(" ".join((code, *arguments)))
    yield from ((path, None) for path in named)


def _commands(command: str, texts: Mapping[str, str]) -> Iterator[_Command]:
    """Yield the simple commands, each with the text that a pipe gives it."""
    script, documents = without_documents(command)
    each, into = _Command(), ""
    for token in _TOKEN.finditer(script.replace("\\\n", " ") + "\n"):
        operator, word = token["operator"], token["word"]
        if word is not None:
            text = _QUOTED.sub(lambda part: part[1] or part[2] or part[3] or "", word)
            if ">" in into:
                each.targets.append(text)
                each.appended |= {text} if ">>" in into else set()
            elif into == "<<":
                each.given = documents.get(text)
            elif into == "<<<":
                each.given = text
            elif not into:
                each.words.append(text)
            into = ""
        elif operator and ("<" in operator or ">" in operator):
            into = operator
        elif operator and (each.words or each.targets):
            yield each
            piped = operator.startswith("|") and not operator.startswith("||")
            output = _output(*_program(each.words), each.given, texts)
            each, into = _Command(given=output if piped else None), ""
            if ")" in operator or "`" in operator:
                each.words.append(")")  # what follows is about an unknown output


def without_documents(command: str) -> tuple[str, dict[str, str]]:
    """Return the script with numbers in place of its here-documents, and their texts.

    A shell takes what follows to the end for a document that has no end. But `1 << x`
    may stand in quotes, so these lines are commands as well.
    """
    lines = command.split("\n")
    last = {line: number for number, line in enumerate(lines)}
    last_indented = {line.lstrip("\t"): number for number, line in enumerate(lines)}
    documents: dict[str, str] = {}
    script: list[str] = []
    numbers = count()
    number = at = 0
    endless = False
    while at < len(lines):
        line, at = lines[at], at + 1
        if "<<" not in line:
            script.append(line)
            continue
        for begin in _HERE.finditer(line):
            begun, indented = at, bool(begin[1])
            if (last_indented if indented else last).get(begin[2], -1) >= at:
                while (lines[at].lstrip("\t") if indented else lines[at]) != begin[2]:
                    at += 1
                documents[str(number)] = "\n".join(lines[begun:at])
                at += 1
            elif not endless:  # only once: each copy takes time
                documents[str(number)] = "\n".join(lines[at:])
                endless = True
            number += 1
        script.append(_HERE.sub(lambda _: f"<<{next(numbers)} ", line))
    return "\n".join(script), documents


def _program(words: Sequence[str]) -> tuple[str, Sequence[str]]:
    """Return the name of the program that a command runs, and its arguments."""
    starter, at = "", 0
    while at < len(words):
        word, at = words[at], at + 1
        name = _name(word)
        if name in _STARTERS:
            starter = starter or name
        elif starter and word in RUN_WITH_VALUE:
            at += 1
        elif not (_ASSIGNMENT.match(word) or (starter and _OPTION.match(word))):
            return name, words[at:]
    return starter, [word for word in words if word not in _STARTERS]


def _output(  # noqa: PLR0911  one per program
    program: str, arguments: Sequence[str], given: str | None, texts: Mapping[str, str]
) -> str | None:
    match program, arguments:
        case (("" | ":" | "true"), _):
            return ""
        case "echo", _:
            words = [word for word in arguments if not re.fullmatch(r"-[neE]+", word)]
            return _unescaped(" ".join(words))
        case "printf", [text]:
            return _unescaped(text)
        case "printf", [form, *values] if re.fullmatch(r"%[sb](\\n)?", form):
            return _unescaped("\n".join(values))
        case "tee", _:
            return given
        case "cat", _:
            files = [word for word in arguments if not word.startswith("-")]
            known = {"/dev/null": ""}
            read = [known.get(path, texts.get(_name(path))) for path in files]
            return _joined(read) if read else given
        case _:
            return None


def _joined(read: Sequence[str | None]) -> str | None:
    known = [text for text in read if text is not None]
    return "".join(known) if len(known) == len(read) else None


def _unescaped(text: str) -> str:
    return _ESCAPE.sub(lambda match: _ESCAPED[match[1]], text)


def _copied(
    files: Sequence[str], texts: Mapping[str, str]
) -> Iterator[tuple[str, str | None]]:
    *sources, target = files or [""]
    if target.endswith(".py"):
        (name, *more) = sources or [""]
        yield target, None if more else texts.get(_name(name))
    elif not PurePosixPath(target).suffix:  # a folder
        yield from ((name, texts.get(_name(name))) for name in sources)


def _name(path: str) -> str:
    return PurePosixPath(path).name


def _code(arguments: Sequence[str], given: str | None) -> str:
    """Return the code that an interpreter gets by `-c` or on its standard input."""
    for option, code in pairwise(arguments):
        if re.fullmatch(r"-\w*c", option):
            return code
    files = [word for word in arguments if not word.startswith("-")]
    return "" if files or given is None else given
