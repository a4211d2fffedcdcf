"""What a trial starts from: the seed as a git work tree; each turn adds its home."""

import os
import shutil
from pathlib import Path

from llamatrix import shell
from llamatrix.errors import MeasureError
from llamatrix.sandbox.workspace_archive import pack
from llamatrix.scratch import scratch_folder

_TIMEOUT_S = 60
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
    """Write the tar that a first turn starts from.

    Outside a work tree OpenCode takes in every configuration up to the root.
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
    ended = shell.run(["git", *words], timeout_s=_TIMEOUT_S, cwd=work, env=env)
    if not ended.ok:
        raise MeasureError(f"the workspace cannot be begun\n{ended.complaint()}")
