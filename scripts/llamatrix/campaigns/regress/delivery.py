"""What every kind of comparison shares of its flags: the budget, and files to write."""

from pathlib import Path

from llamatrix.campaigns.regress.flags import Flags
from llamatrix.errors import MatrixError, ReportError
from llamatrix.progress import say
from llamatrix.units import parse_duration_s


def budget_of(flags: Flags) -> float:
    """In seconds."""
    try:
        return parse_duration_s(flags.budget)
    except ValueError as error:
        raise MatrixError(f"--budget {error}") from error


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
