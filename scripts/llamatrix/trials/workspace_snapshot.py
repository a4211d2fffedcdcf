"""An agent's work as a record keeps it: no key, no history, nothing installed."""

import os
from contextlib import suppress
from pathlib import Path

from llamatrix.redaction import Redaction
from llamatrix.trials.checks.judge import NOT_COPIED
from llamatrix.trials.checks.sources import is_installed

_LARGEST_BYTES = 64 << 20


def save_workspace(workspace: Path, folder: Path, redaction: Redaction) -> None:
    """Copy the plain files of a workspace, cleaned, names too.

    Links are left out, and git's objects: what is compressed cannot be cleaned. So are
    files larger than anybody reads, and those whose cleaned name is a folder's.
    """
    folder.mkdir(parents=True)
    for found, folders, names in os.walk(workspace):
        folders[:] = sorted(
            name
            for name in set(folders) - NOT_COPIED
            if not is_installed(Path(found, name))
        )
        for name in sorted(names):
            path = Path(found, name)
            if path.is_symlink() or not path.is_file():
                continue
            if path.stat().st_size > _LARGEST_BYTES:
                continue
            inner = os.fsencode(path.relative_to(workspace))
            place = folder / os.fsdecode(redaction.clean(inner))
            with suppress(FileExistsError, IsADirectoryError, NotADirectoryError):
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(redaction.clean(path.read_bytes()))
