"""The lock's entries for our corrected templates: made of real bytes, held against them.

A correction under `templates/` proves its own edits by both hashes; of those that a
model is served with the lock has them too, and the two must be the same.
"""

from collections.abc import Iterator
from pathlib import Path

import msgspec

from llamatrix.config.lock import Lock, LockedTemplate, template_names
from llamatrix.config.matrix import Matrix
from llamatrix.engines.llama_cpp.template import (
    Correction,
    corrected,
    find_correction,
    vendor_text,
)
from llamatrix.errors import ServeError
from llamatrix.provision.resolve import Drift


def resolve_templates(
    matrix: Matrix, folder: Path, tree: Path
) -> dict[str, LockedTemplate]:
    """Both hashes of every template that a model names, its edits made anew.

    `folder` has our corrections, `tree` the vendors' texts.
    """
    return {
        name: _made(find_correction(file, folder), tree)
        for name, file in template_names(matrix).items()
    }


def compare_templates(
    matrix: Matrix, lock: Lock, folder: Path, tree: Path | str
) -> Iterator[Drift]:
    """Where the lock differs from our corrections, or from what they make of the tree.

    In place of a tree stands why there is none.
    """
    asked = template_names(matrix)
    for name in sorted(lock.templates.keys() - asked.keys()):
        found = "named by no model of matrix.toml"
        yield Drift(entry=f"templates.{name}", found=found, checked=True)
    for name, file in asked.items():
        yield from _differences(name, file, lock, folder, tree)


def require_pinned(name: str, correction: Correction, pinned: LockedTemplate) -> None:
    """ServeError with both hashes where a correction is another than the locked one."""
    for key, locked in msgspec.structs.asdict(pinned).items():
        found = getattr(correction, key)
        if found != locked:
            raise ServeError(
                f"templates/{name}.toml: {key} is {found}, but matrix.lock has {locked}; "
                "the template is not used. If it is meant to change, run `invoke lock`"
            )


def _differences(
    name: str, file: str, lock: Lock, folder: Path, tree: Path | str
) -> Iterator[Drift]:
    entry, pinned = f"templates.{name}", lock.templates.get(name)
    if pinned is None:
        yield Drift(entry=entry, found="not locked", checked=True)
        return
    try:
        correction = find_correction(file, folder)
        require_pinned(name, correction, pinned)
        if isinstance(tree, Path):
            _made(correction, tree)
    except ServeError as error:
        yield Drift(entry=entry, found=str(error), checked=True)
        return
    if isinstance(tree, str):
        yield Drift(entry=entry, found=tree, checked=False)


def _made(correction: Correction, tree: Path) -> LockedTemplate:
    corrected(correction, vendor_text(correction, tree))
    return LockedTemplate(
        source_sha256=correction.source_sha256,
        result_sha256=correction.result_sha256,
    )
