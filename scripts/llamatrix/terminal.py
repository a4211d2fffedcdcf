"""Standard output and the machine around a command, when they fail it."""

import codecs
import errno
import io
import os
import select
import shutil
import signal
import sys
from collections.abc import Sequence

from llamatrix import scratch
from llamatrix.errors import ProvisionError

INTERRUPTED = (
    "\nllamatrix: interrupted; finished records are kept, the same command goes on "
    "from there"
)
_COLOURS = {"good": 32, "bad": 31, "open": 33}
_CLOSED_OUTPUT = 128 + signal.SIGPIPE
"""The exit code of a program whose reader left, as shells report it."""
_PLAIN = "llamatrix.plain"
_SIGNS = {"→": "->", "×": "x", "±": "+-", "–": "-", "…": "...", "·": "|"}
_MORE_ROOM = "free some space, or set LLAMATRIX_CACHE to a folder on a larger disk"
_NO_TEMPORARY_FOLDER = (
    "llamatrix: no temporary folder can be written to; free some space, or set TMPDIR"
)
_NOT_WRITABLE = "correct the permissions, or set LLAMATRIX_CACHE to another folder"
_REMEDIES = {
    errno.ENOSPC: _MORE_ROOM,
    errno.EDQUOT: _MORE_ROOM,
    errno.EFBIG: _MORE_ROOM,
    errno.EACCES: _NOT_WRITABLE,
    errno.EPERM: _NOT_WRITABLE,
    errno.EROFS: _NOT_WRITABLE,
    errno.ENOTDIR: "a part of this path is a file",
    errno.EEXIST: "a file is in the place of a folder",
    errno.EISDIR: "a folder is in the place of a file",
    errno.ENAMETOOLONG: "choose a shorter path",
    errno.ELOOP: "its symbolic links form a loop",
    errno.EIO: "the disk fails; see the kernel's log",
    errno.EMFILE: "raise the limit of open files (`ulimit -n`)",
    errno.ENFILE: "close other programs",
    errno.ENOMEM: "free some memory",
}
"""What the machine may refuse to any part of a command; others are bugs of ours."""


def _plain(error: UnicodeError) -> tuple[str | bytes, int]:
    """Write the signs of our tables in ASCII, and escape all others."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    sign = error.object[error.start]
    if sign in _SIGNS:
        return _SIGNS[sign], error.start + 1
    return codecs.backslashreplace_errors(error)


codecs.register_error(_PLAIN, _plain)


def prepare() -> None:
    """End as after Ctrl-C on SIGTERM, and escape what the output cannot encode.

    A signal that our parent had us ignore stays ignored: `nohup` outlives the terminal.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_PLAIN)


def size() -> int:
    """Columns of the terminal; 100 where the output is none."""
    return shutil.get_terminal_size((100, 24)).columns


def paint(text: str, mood: str) -> str:
    """Colour a text on a terminal, unless NO_COLOR is set; elsewhere leave it."""
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        return text
    return f"\x1b[{_COLOURS[mood]}m{text}\x1b[0m"


def end_with_the_reader_of_help(argv: Sequence[str]) -> None:
    """Where Invoke itself prints help or a list, end as other programs do in a pipe."""
    if not {"-l", "--list", "-h", "--help", "--complete"}.isdisjoint(argv):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)


def end_of(error: OSError) -> tuple[str, int]:
    """Return what to say last and the exit code; raises what is a bug of ours.

    A reader that left needs no word; what the machine refused has a remedy.
    """
    if _drop_closed_outputs():
        return "", _CLOSED_OUTPUT
    if isinstance(error, FileNotFoundError) and not scratch.temporary_folder():
        return _NO_TEMPORARY_FOLDER, ProvisionError.exit_code
    number = error.errno or 0
    if number not in _REMEDIES:
        raise error
    where = f"{error.filename}: " if error.filename else ""
    line = f"llamatrix: {where}{os.strerror(number)}: {_REMEDIES[number]}"
    return line, ProvisionError.exit_code


def _drop_closed_outputs() -> bool:
    """Send what is left for a closed pipe to nowhere; whether there was such a pipe."""
    closed = [stream for stream in (sys.stdout, sys.stderr) if _has_no_reader(stream)]
    for stream in closed:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
    return bool(closed)


def _has_no_reader(stream: object) -> bool:
    """Whether the stream is a pipe, or socket, whose reading end is closed."""
    if not isinstance(stream, io.TextIOWrapper):
        return False
    poll = select.poll()
    poll.register(stream.fileno(), 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))
