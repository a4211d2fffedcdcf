"""An execution environment without a sandbox: this machine's uv and Python, with stubs.

It is for controls and for workspaces that the user trusts: programs run with the
user's permissions. A trial's work is judged in a sandbox.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from llamatrix.provision.programs import find_uv
from llamatrix.trials.checks.execution_environment import ExecutionEnvironment
from llamatrix.trials.checks.task import Task
from llamatrix.trials.stubs.connect_proxy import connect_proxy
from llamatrix.trials.stubs.serving import (
    HOSTS,
    SWITCH_KEY,
    prepare,
    serve_stubs_for_checks,
    trusting,
)

_PASSED_ON = {
    *("LANG", "TMPDIR", "UV_DEFAULT_INDEX", "UV_INDEX", "UV_FIND_LINKS", "UV_OFFLINE"),
    *("UV_CONFIG_FILE", "UV_NATIVE_TLS", "UV_SYSTEM_CERTS"),
}
"""The user's own settings for uv's package index."""


@contextmanager
def loopback_execution(
    task: Task, folder: Path, *, cache: Path, uv: Path | None = None
) -> Iterator[ExecutionEnvironment]:
    """Serve the stubs behind a proxy; packages come from uv's own index, through `cache`.

    `folder` is private to it and must be empty.
    """
    home, programs = folder / "home", folder / "programs"
    home.mkdir()
    programs.mkdir()
    (programs / "uv").symlink_to(uv or find_uv())
    (programs / "python3").symlink_to(_bare_python())
    stubs = prepare(folder, models=task.all_models).for_judging(folder)
    passed_on = {name: os.environ[name] for name in _PASSED_ON & os.environ.keys()}
    with (
        serve_stubs_for_checks(stubs) as (port, switch),
        connect_proxy(HOSTS, port=port) as way,
    ):
        yield ExecutionEnvironment(
            environment={
                **passed_on,
                **trusting(stubs.tls_files.authorities),
                **way,
                "PATH": f"{programs}:{os.defpath}",
                "HOME": str(home),
                "UV_CACHE_DIR": str(cache),
                "UV_PYTHON_DOWNLOADS": "never",
                "GEMINI_API_KEY": stubs.key,
            },
            requests=str(stubs.log),
            title=stubs.title,
            switch=switch,
            switch_key=str(folder / SWITCH_KEY),
            secrets=(*stubs.foreign_keys, stubs.key),
        )


def _bare_python() -> Path:
    """Return the Python of this virtual environment's base, without our packages."""
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    own = Path(sys.base_prefix, "bin", name)
    return own if own.exists() else Path(sys.executable).resolve()
