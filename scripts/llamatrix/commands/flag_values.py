"""The flags of a command out of the text that Invoke parsed."""

from collections.abc import Mapping
from dataclasses import Field, fields
from typing import Any, TypeVar

from llamatrix.commands.flags import is_number
from llamatrix.errors import MatrixError

_SHOWN = 60
"""Characters of a value in a complaint."""
T = TypeVar("T")


def read_flags(kind: type[T], written: Mapping[str, object], *, dry: bool) -> T:
    """Build the flags; MatrixError names what is unusable.

    `dry` is Invoke's own flag: it is honoured where a command has a dry run.
    """
    values = dict(written)
    if dry and "dry_run" not in values:
        raise MatrixError("--dry: this command has no dry run; leave the flag out")
    if dry:
        values["dry_run"] = True
    for one in fields(kind):  # type: ignore[arg-type]  # every kind is a dataclass
        text = str(written[one.name])
        if "\0" in text:
            raise MatrixError(f"{_shown(one, text)}: contains a NUL character")
        if is_number(one):
            values[one.name] = _number(one, text)
    return kind(**values)


def refuse_ignored(command_timeout: int | None) -> None:
    """MatrixError for a flag of Invoke's that would be ignored."""
    if command_timeout is not None:
        raise MatrixError(
            "--command-timeout: Invoke's own flag, which limits nothing here; time "
            "limits are timeout_s in matrix.toml and, where a command has it, --budget"
        )


def _number(one: "Field[Any]", text: str) -> float:
    least, most = one.metadata["least"], one.metadata["most"]
    whole = isinstance(one.default, int)
    try:
        number = int(text) if whole else float(text)
    except ValueError:
        number = None
    if number is None or not least <= number <= most:  # NaN is in no range
        word = "whole number" if whole else "number"
        raise MatrixError(
            f"{_shown(one, text)}: expected a {word} from {least} to {most}"
        )
    return number


def _shown(one: "Field[Any]", text: str) -> str:
    cut = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
    return f"--{one.name.replace('_', '-')} {cut!r}"
