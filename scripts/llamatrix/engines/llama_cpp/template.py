"""Our corrected chat templates: edits over a vendor's text that is not ours to ship.

Pure but for the reading of files. The flake applies the same edits with
`builtins.replaceStrings`, hence one pass, exact strings, each found exactly once.
"""

import hashlib
import os
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from llamatrix.config.complaint import complaints, nearest
from llamatrix.config.load import read_toml
from llamatrix.config.lock import Sha256
from llamatrix.errors import ServeError

VENDOR_FOLDER = Path("models/templates")
"""Where a source tree of llama.cpp keeps the vendors' templates."""


class Edit(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    bug: str
    """As `templates/README.md` numbers it."""
    why: str
    find: Annotated[str, Meta(min_length=1)]
    replace: str


class Correction(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One file of `templates/`."""

    file: str
    """The vendor's file under `models/templates/`."""
    source_sha256: Sha256
    result_sha256: Sha256
    edits: tuple[Edit, ...]


def find_correction(name: str, folder: Path) -> Correction:
    """The correction behind a matrix' `chat_template_file`: `qwen35.jinja`."""
    path = folder / Path(name).with_suffix(".toml").name
    if not path.exists():
        known = (file.with_suffix(".jinja").name for file in folder.glob("*.toml"))
        raise ServeError(
            f"chat_template_file: no template {name!r}{nearest(name, known)}"
        )
    return load_correction(path)


def load_correction(path: Path) -> Correction:
    raw = read_toml(path)
    found = [f"{path.name}: {line}" for line in complaints(raw, Correction)]
    if found:
        raise ServeError("\n".join(found))
    return msgspec.convert(raw, type=Correction)


def corrected(correction: Correction, source: str) -> str:
    """The vendor's text with every edit made, or ServeError; never something between."""
    where = correction.file
    _same(f"{where}: the vendor's text", source, correction.source_sha256)
    result = edited(source, correction.edits, where=where)
    _same(f"{where}: the corrected text", result, correction.result_sha256)
    return result


def edited(source: str, edits: tuple[Edit, ...], *, where: str) -> str:
    """Make all edits in one pass over the source; none sees what another wrote."""
    places = []
    for number, edit in enumerate(edits, start=1):
        count = source.count(edit.find)
        if count != 1:
            raise ServeError(
                f"{where}: edit {number} ({edit.bug}): its text stands {count} times "
                "in the source, not once"
            )
        places.append((source.index(edit.find), edit))
    done, pieces = 0, []
    for begin, edit in sorted(places, key=lambda place: place[0]):
        if begin < done:
            raise ServeError(f"{where}: the edit for {edit.bug} overlaps another")
        pieces += [source[done:begin], edit.replace]
        done = begin + len(edit.find)
    return "".join([*pieces, source[done:]])


def provide_template(correction: Correction, tree: Path, cache: Path) -> Path:
    """The corrected template as a file for `--chat-template-file`.

    `tree` is the source of any pin that carries the vendor's file as it was corrected.
    """
    result = corrected(correction, vendor_text(correction, tree))
    entry = cache / "templates" / f"{correction.result_sha256[:16]}.jinja"
    entry.parent.mkdir(parents=True, exist_ok=True)
    staging = entry.with_name(f".{entry.name}.{os.getpid()}")
    staging.write_bytes(result.encode())
    staging.replace(entry)
    return entry


def vendor_text(correction: Correction, tree: Path) -> str:
    """What a correction's edits are made in, as a source tree carries it."""
    source = tree / VENDOR_FOLDER / correction.file
    try:
        return source.read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        raise ServeError(
            f"{source}: the vendor's template cannot be read: {error}"
        ) from error


def _same(what: str, text: str, wanted: str) -> None:
    found = hashlib.sha256(text.encode()).hexdigest()
    if found != wanted:
        raise ServeError(
            f"{what} has sha256 {found}, but {wanted} is expected; it is not used. "
            "A newer vendor's text needs new edits under templates/"
        )
