"""ExecutionEnvironment in a sandbox of the trial's own kind: what an agent wrote runs nowhere else."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec

from llamatrix.sandbox.spec import HOME
from llamatrix.trials.checks import run_in_sandbox
from llamatrix.trials.checks.execution_environment import (
    WORKSPACE,
    ExecutionEnvironment,
)
from llamatrix.trials.checks.run_in_sandbox import Enclosure

INSIDE_SANDBOX = Path("/opt/llamatrix/judging")
"""Where our programs beside judged ones are shown."""
_ROOT = Path(__file__).resolve().parents[3]


def sandbox_execution(
    enclosure: Enclosure,
    folder: Path,
    *,
    requests: Path | None,
    secrets: tuple[str, ...],
    title: str = "",
    switch: int = 0,
) -> ExecutionEnvironment:
    """The execution environment of one trial, which has `folder` for itself."""
    lost = str(folder / "sandbox.lost")
    prefix = (sys.executable, "-B", str(Path(run_in_sandbox.__file__)), lost, WORKSPACE)
    return ExecutionEnvironment(
        environment={
            "PYTHONPATH": str(_ROOT),
            "PATH": os.defpath,
            run_in_sandbox.ENCLOSURE: msgspec.json.encode(enclosure).decode(),
            **_passed_on(),
        },
        prefix=prefix,
        requests=None if requests is None else str(requests),
        bwrap=enclosure.bwrap,
        inside=str(INSIDE_SANDBOX),
        private=(str(HOME), "/tmp", "/dev/shm"),  # noqa: S108  the sandbox's own
        installed=str(HOME / ".cache"),
        title=title,
        switch=switch,
        switch_key=str(folder / "session.key"),
        lost=lost,
        secrets=secrets,
    )


def _passed_on() -> Mapping[str, str]:
    """Where this Python finds what it was started with, and where to put what is short-lived."""
    names = ("TMPDIR", "LANG", "VIRTUAL_ENV")
    return {name: os.environ[name] for name in names if name in os.environ}
