"""Runs a small parser on what an agent made, in a sandbox with hard limits.

An agent's files can be bombs: an image of 2.8 MiB that inflates to gigabytes, source
code that overflows the parser's stack. Neither the harness nor a check decodes them in
its own process.
"""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from llamatrix import shell
from llamatrix.redaction import without_folders
from llamatrix.sandbox.session import seccomp_file
from llamatrix.sandbox.spec import python_inside, read_only_argv

_PACKAGES = Path(__file__).resolve().parents[2]
_PACKAGES_INSIDE = Path("/opt/llamatrix/packages")
_LIBRARIES_INSIDE = Path("/opt/llamatrix/libraries")
_PARSER_INSIDE = Path("/opt/llamatrix/parser.py")
_DATA_INSIDE = Path("/data")
_OUT_OF_MEMORY = "parser: out of memory"
_LAUNCHER = f"""\
import resource, runpy, sys
packages, memory_bytes, cpu_s, *sys.argv = sys.argv[1:]
for limit, value, hard in (
    (resource.RLIMIT_AS, int(memory_bytes), 0),
    (resource.RLIMIT_CPU, int(cpu_s), 1),  # SIGXCPU comes first, then SIGKILL
    (resource.RLIMIT_FSIZE, 0, 0),
    (resource.RLIMIT_CORE, 0, 0),
):
    resource.setrlimit(limit, (value, value + hard))
sys.path[:0] = packages.split({os.pathsep!r})
sys.dont_write_bytecode = True
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
except MemoryError:
    sys.exit({_OUT_OF_MEMORY!r})
"""
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class ParserLimits:
    memory_bytes: int = 256 << 20
    """Address space; Python itself takes about 30 MiB."""
    seconds: int = 20
    output_bytes: int = 1 << 20


class ParserFailedError(Exception):
    """The parser exceeded a limit, crashed or wrote invalid JSON; the text says which.

    The agent made what is parsed, so a check counts this against the work.
    """


def parse_sandboxed(
    parser: Path,
    data: Path,
    *words: str,
    type_: type[T],
    bwrap: Path | None,
    limits: ParserLimits | None = None,
    libraries: Sequence[Path] = (),
) -> T:
    """Run `parser DATA WORD…` in a sandbox and return the JSON that it prints.

    `parser` is a Python file of this package. It may import the standard library,
    modules of `llamatrix` that use nothing else, and the packages in `libraries`, each a
    package's folder or program. `data` is a file or folder on this machine; the parser
    gets the path at which it is mounted. `words` that name a library are replaced by its
    path inside. The parser sees no network, environment or key and can write nowhere.

    With `bwrap` None (a machine without sandboxes, where only controls are judged) the
    same limits apply in an ordinary process.

    Raises ParserFailedError where the parser exceeds its memory, time or output, where
    it crashes, and where its output does not decode as `type_`. The message names no
    folder of this machine and may be shown to a model.
    """
    limits = limits or ParserLimits()
    launched = ("-I", "-S", "-c", _LAUNCHER)
    numbers = (str(limits.memory_bytes), str(limits.seconds))
    output = _Output(max_bytes=limits.output_bytes)
    with seccomp_file() as seccomp:
        if bwrap is None:
            folders = dict.fromkeys((_PACKAGES, *(path.parent for path in libraries)))
            here = (os.pathsep.join(map(str, folders)), *numbers, str(parser.resolve()))
            argv: tuple[str, ...] = (sys.executable, *launched, *here)
            argv += (str(data), *words)
        else:
            shown_as = {str(path): _LIBRARIES_INSIDE / path.name for path in libraries}
            words = tuple(str(shown_as.get(word, word)) for word in words)
            inside = (*numbers, str(_PARSER_INSIDE), str(_DATA_INSIDE), *words)
            shown = {
                **{shown_as[str(path)]: path for path in libraries},
                _PACKAGES_INSIDE: _PACKAGES,
                _PARSER_INSIDE: parser,
                _DATA_INSIDE: data,
            }
            argv = read_only_argv(
                bwrap,
                shown=shown,
                seccomp=seccomp,
                command=(
                    *(str(python_inside()), *launched),
                    f"{_PACKAGES_INSIDE}{os.pathsep}{_LIBRARIES_INSIDE}",
                    *inside,
                ),
            )
        ended = shell.run(
            argv,
            cwd=Path("/"),
            env={"LANG": "C.UTF-8"},
            timeout_s=2 * limits.seconds,
            on_line=output.take,
            pass_fds=[] if seccomp is None else [seccomp],
        )
    if ended.limit or ended.returncode in {-24, 128 + 24}:  # SIGXCPU
        raise ParserFailedError(f"it takes more than {limits.seconds} s to parse")
    if _OUT_OF_MEMORY in ended.tail:
        mib = limits.memory_bytes >> 20
        raise ParserFailedError(
            f"it takes more than {mib} MiB of memory to parse, or nests too deeply"
        )
    if not ended.ok:
        worded = (line for line in reversed(ended.tail) if any(map(str.isalnum, line)))
        last = without_folders(next(worded, ""))
        raise ParserFailedError(
            f"the parser ended with exit code {ended.returncode}: {last}"
        )
    if output.left_bytes < 0:
        raise ParserFailedError(f"parsing it gives more than {limits.output_bytes} B")
    try:
        return msgspec.json.decode("\n".join(output.lines), type=type_)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise ParserFailedError(f"the parser's output is wrong: {error}") from error


class _Output:
    """Lines of standard output, up to a size."""

    def __init__(self, *, max_bytes: int) -> None:
        self.lines: list[str] = []
        self.left_bytes = max_bytes

    def take(self, channel: shell.Channel, line: str) -> None:
        if channel is shell.Channel.OUT:
            self.left_bytes -= len(line)
            if self.left_bytes >= 0:
                self.lines.append(line)
