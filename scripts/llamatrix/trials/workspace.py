"""A trial's workspace: the git work tree it starts from, and the copy that is kept."""

import os
import shutil
from pathlib import Path

from llamatrix import shell
from llamatrix.errors import MeasureError
from llamatrix.redaction import Redaction
from llamatrix.sandbox.workspace_archive import pack, skipping_invalid_names
from llamatrix.scratch import scratch_folder
from llamatrix.trials.checks.judge import NOT_COPIED
from llamatrix.trials.checks.sources import is_installed

_GIT_TIMEOUT_S = 60
_AUTHOR = {
    f"GIT_{role}_{key}": value
    for role in ("AUTHOR", "COMMITTER")
    for key, value in (
        ("NAME", "llamatrix"),
        ("EMAIL", "llamatrix@localhost"),
        ("DATE", "2026-01-01T00:00:00Z"),
    )
}


def begin_files(seed: Path | None, files: Path) -> Path:
    """Write the archive that a first turn starts from; each turn adds its home.

    It holds the seed as a git work tree: outside of one, OpenCode reads every
    configuration up to the root.
    """
    with scratch_folder("seed") as aside:
        work = aside / "work"
        if seed is not None and seed.is_dir():
            shutil.copytree(seed, work)
        else:
            work.mkdir()
        _git(work, "init", "--quiet", "--template=", "--initial-branch=main")
        _git(work, "add", "--all")
        _git(work, "commit", "--quiet", "--allow-empty", "--message=seed")
        pack(files, home={}, work=work)
    return files


def _git(work: Path, *words: str) -> None:
    plain = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", **_AUTHOR}
    env = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(work), **plain}
    ended = shell.run(["git", *words], timeout_s=_GIT_TIMEOUT_S, cwd=work, env=env)
    if not ended.ok:
        raise MeasureError(f"the workspace cannot be created\n{ended.complaint()}")


_LARGEST_BYTES = 64 << 20


def save_workspace(workspace: Path, folder: Path, redaction: Redaction) -> None:
    """Copy the plain files of a workspace without secrets in contents and names.

    Links are left out, git's objects (secrets cannot be found in compressed data), what
    is installed, very large files, and files that cannot have their cleaned name.
    """
    folder.mkdir(parents=True)
    for root, folders, names in os.walk(workspace):
        folders[:] = sorted(
            name
            for name in set(folders) - NOT_COPIED
            if not is_installed(Path(root, name))
        )
        for name in sorted(names):
            path = Path(root, name)
            if path.is_symlink() or not path.is_file():
                continue
            if path.stat().st_size > _LARGEST_BYTES:
                continue
            inner = os.fsencode(path.relative_to(workspace))
            place = folder / os.fsdecode(redaction.clean(inner))
            with skipping_invalid_names():
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(redaction.clean(path.read_bytes()))
