"""Corrected chat templates: edits to a vendor's text, which is not ours to ship.

The flake applies the same edits with `builtins.replaceStrings`: hence one pass and
exact strings, each found exactly once. A correction proves its edits by two hashes; the
lock has the same two for every correction that a model is served with.
"""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from llamatrix.config.complaint import complaints, nearest
from llamatrix.config.load import read_toml
from llamatrix.config.lock import Lock, LockedTemplate, Sha256, template_names
from llamatrix.config.matrix import Matrix
from llamatrix.errors import ServeError
from llamatrix.provision.resolve import Drift

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
    """Return the correction for a `chat_template_file`, such as `qwen35.jinja`."""
    path = folder / Path(name).with_suffix(".toml").name
    if not path.exists():
        known = (file.with_suffix(".jinja").name for file in folder.glob("*.toml"))
        raise ServeError(
            f"chat_template_file: no template {name!r}{nearest(name, known)}"
        )
    return load_correction(path)


def load_correction(path: Path) -> Correction:
    raw = read_toml(path)
    problems = [f"{path.name}: {line}" for line in complaints(raw, Correction)]
    if problems:
        raise ServeError("\n".join(problems))
    return msgspec.convert(raw, type=Correction)


def corrected(correction: Correction, source: str) -> str:
    """Return the vendor's text with every edit applied; ServeError unless all fit."""
    where = correction.file
    _same(f"{where}: the vendor's text", source, correction.source_sha256)
    result = edited(source, correction.edits, where=where)
    _same(f"{where}: the corrected text", result, correction.result_sha256)
    return result


def edited(source: str, edits: tuple[Edit, ...], *, where: str) -> str:
    """Apply all edits in one pass: none sees the text of another."""
    places = []
    for number, edit in enumerate(edits, start=1):
        count = source.count(edit.find)
        if count != 1:
            raise ServeError(
                f"{where}: edit {number} ({edit.bug}): its text occurs {count} times "
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
    """Write the corrected template as a file for `--chat-template-file`.

    `tree` is the source of any pin with the version of the vendor's file that was corrected.
    """
    result = corrected(correction, vendor_text(correction, tree))
    entry = cache / "templates" / f"{correction.result_sha256[:16]}.jinja"
    entry.parent.mkdir(parents=True, exist_ok=True)
    staging = entry.with_name(f".{entry.name}.{os.getpid()}")
    staging.write_bytes(result.encode())
    staging.replace(entry)
    return entry


def vendor_text(correction: Correction, tree: Path) -> str:
    """Return the vendor's text from a source tree."""
    source = tree / VENDOR_FOLDER / correction.file
    try:
        return source.read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        raise ServeError(
            f"{source}: the vendor's template cannot be read: {error}"
        ) from error


def _same(what: str, text: str, wanted: str) -> None:
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    if sha256 != wanted:
        raise ServeError(
            f"{what} has sha256 {sha256}, but {wanted} is expected; it is not used. "
            "A newer text of the vendor's needs new edits under templates/"
        )


def resolve_templates(
    matrix: Matrix, folder: Path, tree: Path
) -> dict[str, LockedTemplate]:
    """Return both hashes of every template that a model names, after applying its edits.

    `folder` has our corrections, `tree` the vendors' texts.
    """
    return {
        name: _made(find_correction(file, folder), tree)
        for name, file in template_names(matrix).items()
    }


def compare_templates(
    matrix: Matrix, lock: Lock, folder: Path, tree: Path | str
) -> Iterator[Drift]:
    """Yield where the lock differs from our corrections or from their results.

    `tree` is a folder, or the reason why there is none.
    """
    names = template_names(matrix)
    for name in sorted(lock.templates.keys() - names.keys()):
        yield Drift(f"templates.{name}", "named by no model of matrix.toml")
    for name, file in names.items():
        entry, pinned = f"templates.{name}", lock.templates.get(name)
        if pinned is None:
            yield Drift(entry, "not locked")
            continue
        try:
            correction = find_correction(file, folder)
            require_pinned(name, correction, pinned)
            if isinstance(tree, Path):
                _made(correction, tree)
        except ServeError as error:
            yield Drift(entry, str(error))
            continue
        if isinstance(tree, str):
            yield Drift(entry, tree, checked=False)


def require_pinned(name: str, correction: Correction, pinned: LockedTemplate) -> None:
    """Raise ServeError with both hashes if a correction is not the locked one."""
    for key, locked in msgspec.structs.asdict(pinned).items():
        value = getattr(correction, key)
        if value != locked:
            raise ServeError(
                f"templates/{name}.toml: {key} is {value}, but matrix.lock has {locked}; "
                "the template is not used. If it is meant to change, run `invoke lock`"
            )


def _made(correction: Correction, tree: Path) -> LockedTemplate:
    corrected(correction, vendor_text(correction, tree))
    return LockedTemplate(
        source_sha256=correction.source_sha256,
        result_sha256=correction.result_sha256,
    )
