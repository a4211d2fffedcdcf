"""What every kind of comparison shares of its flags: the budget, and files to write."""

import os
from pathlib import Path

from llamatrix.commands.regress.flags import Flags
from llamatrix.errors import MatrixError, ReportError
from llamatrix.progress import say
from llamatrix.units import parse_duration_s


def budget_of(flags: Flags) -> float:
    """In seconds."""
    try:
        return parse_duration_s(flags.budget)
    except ValueError as error:
        raise MatrixError(f"--budget {error}") from error


def require_deliverable(flags: Flags) -> None:
    """ReportError, before anything is measured, for a file that cannot be written."""
    for name in filter(None, (flags.junit, flags.markdown)):
        path = Path(name).absolute()
        nearest = next(one for one in (path, *path.parents) if one.exists())
        folder_in_its_place = nearest == path and path.is_dir()
        file_as_parent = nearest != path and not nearest.is_dir()
        if folder_in_its_place or file_as_parent or not os.access(nearest, os.W_OK):
            raise ReportError(f"{name}: cannot be written; nothing was measured")


def deliver(flags: Flags, *, junit: str, markdown: str) -> None:
    """Write those of the files that were asked for."""
    for name, text in ((flags.junit, junit), (flags.markdown, markdown)):
        if name:
            _write(Path(name), text)


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    except OSError as error:
        raise ReportError(f"{path}: cannot be written: {error.strerror}") from error
    say(f"written: {path}")
