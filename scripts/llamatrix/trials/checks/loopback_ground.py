"""Ground without a sandbox: this machine's uv and Python, the services stood in for.

For controls and for workspaces somebody else made. What runs there can do whatever
its user can: a trial's work is judged in a sandbox.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from llamatrix.provision.uv import find_uv
from llamatrix.trials.checks.ground import INSIDE, Ground
from llamatrix.trials.checks.task import Task
from llamatrix.trials.stubs.authority import trusting
from llamatrix.trials.stubs.connect_proxy import detour
from llamatrix.trials.stubs.serving import HOSTS, prepare, standing_for_judging


@contextmanager
def loopback_ground(
    task: Task, folder: Path, *, cache: Path, uv: Path | None = None
) -> Iterator[Ground]:
    """The stand-ins, led to by a proxy; packages come from uv's own index, kept in `cache`.

    `folder` is private to this ground and must be empty.
    """
    home, programs = folder / "home", folder / "programs"
    home.mkdir()
    programs.mkdir()
    (programs / "uv").symlink_to(uv or find_uv())
    (programs / "python3").symlink_to(_bare_python())
    stand_ins = prepare(folder, models=task.all_models).for_judging()
    passed_on = {name: os.environ[name] for name in _PASSED_ON & os.environ.keys()}
    with (
        standing_for_judging(stand_ins) as (port, switch),
        detour(HOSTS, port=port) as way,
    ):
        yield Ground(
            environment={
                **passed_on,
                **trusting(stand_ins.papers.authorities),
                **way,
                "PATH": f"{programs}:{os.defpath}",
                "HOME": str(home),
                "UV_CACHE_DIR": str(cache),
                "UV_PYTHON_DOWNLOADS": "never",
                "GEMINI_API_KEY": stand_ins.key,
                "PYTHONDONTWRITEBYTECODE": "1",
            },
            requests=str(stand_ins.log),
            inside=str(INSIDE),
            title=stand_ins.title,
            switch=switch,
            switch_key=str(folder / "session.key"),
            secrets=(*stand_ins.foreign_keys, stand_ins.key),
        )


_PASSED_ON = {
    *("LANG", "TMPDIR", "UV_DEFAULT_INDEX", "UV_INDEX", "UV_FIND_LINKS", "UV_OFFLINE"),
    *("UV_CONFIG_FILE", "UV_NATIVE_TLS", "UV_SYSTEM_CERTS"),
}
"""Where a user's uv finds its packages is the user's affair."""


def _bare_python() -> Path:
    """The Python under this one's virtual environment: without our own packages."""
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    own = Path(sys.base_prefix, "bin", name)
    return own if own.exists() else Path(sys.executable).resolve()
