"""A workspace as text of bounded size, without keys."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from llamatrix.redaction import GONE, Redaction
from llamatrix.trials.checks.keys import literal_key_lines
from llamatrix.trials.checks.sources import Source, files, text_of

_SHOWN = {".py": 0, ".toml": 1, ".md": 2, ".json": 2, ".txt": 2, ".cfg": 2, ".sh": 2}
"""Suffixes of files whose text is shown, those first that matter most."""
_MOST_OF_ONE = 20_000
_MOST = 60_000
_MOST_NAMES = 200
_LITERAL = re.compile(r"(['\"])[^'\"\s]{16,}\1")
"""The shortest that `literal_key_lines` takes for a key."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Exhibit:
    text: str
    """Of about 60,000 characters at most, file names and all."""
    cut: tuple[str, ...]
    """Files that are not shown to their end, or only named."""


def exhibit(workspace: Path, redaction: Redaction) -> Exhibit:
    """The names of all files, then what they say, code first."""
    found = files(workspace)
    names = [_name(path, workspace) for path in found]
    listed = "\n".join(names[:_MOST_NAMES])
    more = len(names) - _MOST_NAMES
    parts = [f"Files:\n{listed}" + (f"\nand {more} more" if more > 0 else "")]
    room = _MOST - len(parts[0])
    cut = []
    unshown = 0
    for name, text in _texts(workspace, found):
        if room <= 0:
            cut.append(name)
            unshown += 1
            continue
        clean = redaction.clean(_without_literal_keys(name, text).encode()).decode()
        most = min(_MOST_OF_ONE, room)
        if len(clean) > most:
            cut.append(name)
            clean = f"{clean[:most]}\n[{len(clean) - most} characters are left out]"
        parts.append(f"--- {name} ---\n{clean}")
        room -= len(parts[-1])
    if unshown:
        parts.append(f"[{unshown} more files are left out]")
    whole = redaction.clean("\n\n".join(parts).encode()).decode()
    return Exhibit(text=whole, cut=tuple(cut))


def _texts(workspace: Path, found: tuple[Path, ...]) -> Iterator[tuple[str, str]]:
    """Not of hidden files: `.env` is where a key may lie."""
    shown = [
        path
        for path in found
        if path.suffix in _SHOWN and not path.name.startswith(".")
    ]
    for path in sorted(shown, key=lambda path: _SHOWN[path.suffix]):
        yield _name(path, workspace), text_of(path)


def _name(path: Path, workspace: Path) -> str:
    """As it can be sent: an agent's file names are any bytes."""
    inner = os.fsencode(path.relative_to(workspace).as_posix())
    return inner.decode(errors="replace")


def _without_literal_keys(name: str, text: str) -> str:
    """Also of keys without a known shape: what is bound to a name like `api_key`."""
    if not name.endswith(".py"):
        return text
    lines = text.split("\n")
    for number in literal_key_lines(Source(name=name, text=text)):
        lines[number - 1] = _LITERAL.sub(rf"\1{GONE}\1", lines[number - 1])
    return "\n".join(lines)
