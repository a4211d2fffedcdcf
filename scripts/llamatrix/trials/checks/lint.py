"""ruff, with a fixed set of rules and none of the workspace's own settings."""

import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from llamatrix import shell
from llamatrix.errors import MeasureError

RULES = (
    *("F", "E711", "E712", "E722", "B", "SIM", "PTH"),
    *("C901", "PLR0912", "PLR0915", "BLE001", "S110", "S112", "S113"),
)
"""Changing them changes a published column: MEASUREMENT_VERSION goes up with it."""
OWN_RUFF = (sys.executable, "-m", "ruff")
_TIMEOUT_S = 60


class Broken(Struct, frozen=True, kw_only=True):
    """One rule broken at one place."""

    code: str
    file: str
    """Relative to the workspace."""
    line: int
    text: str


class _Location(Struct):
    row: int


class _Message(Struct):
    code: str | None
    filename: str
    location: _Location
    message: str


def lint(
    workspace: Path, names: tuple[str, ...], *, ruff: Sequence[str] = OWN_RUFF
) -> tuple[Broken, ...]:
    """What ruff finds in these files, in their order; `# noqa` is not heeded."""
    if not names:
        return ()
    flags = [
        *("check", "--isolated", "--no-cache", "--exit-zero", "--ignore-noqa"),
        *("--output-format", "json", "--target-version", "py311"),
        *("--select", ",".join(RULES)),
    ]
    ended = shell.run(
        [*ruff, *flags, "--", *names],
        cwd=workspace,
        env={"RAYON_NUM_THREADS": "2"},  # each takes of a memory limit
        timeout_s=_TIMEOUT_S,
    )
    try:
        messages = msgspec.json.decode(ended.out, type=tuple[_Message, ...])
    except msgspec.MsgspecError as error:
        raise MeasureError(f"ruff gave no findings: {ended.complaint()}") from error
    root = workspace.resolve()
    return tuple(
        Broken(
            code=each.code or "invalid-syntax",
            file=Path(each.filename).resolve().relative_to(root).as_posix(),
            line=each.location.row,
            text=each.message,
        )
        for each in messages
    )
