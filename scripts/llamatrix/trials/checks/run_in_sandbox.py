"""One program of the agent's in a fresh sandbox, on a copy of the workspace.

Run as `python enclosed.py LOST WORKSPACE PROGRAM WORD…`: what the program leaves in its
workspace replaces WORKSPACE; output and exit code are the program's own. The environment
it is installed in and its packages do not outlive it. Where it was not run, or its work
did not come out, the file LOST says why: nothing that the program itself can do makes
one. What the sandbox is opened with comes in the variable `ENCLOSURE`, and is in no
file: keys are part of it.
"""

import os
import shutil
import signal
import sys
from contextlib import ExitStack
from pathlib import Path
from types import FrameType

import msgspec
from msgspec import Struct

from llamatrix.config.matrix import Network
from llamatrix.errors import MeasureError
from llamatrix.sandbox.forwarding import forwarding
from llamatrix.sandbox.session import SandboxSession, open_sandbox
from llamatrix.sandbox.spec import HOME, TOOLS, Sandbox
from llamatrix.sandbox.supervisor import Report
from llamatrix.sandbox.workspace_archive import pack, unpack_work
from llamatrix.scratch import scratch_folder

_LOOK_EVERY_S = 0.02
ENCLOSURE = "LLAMATRIX_ENCLOSURE"
_LOST = 125
"""The exit code where there was no sandbox, or none any more."""
_KEPT_OUT = HOME / ".cache" / "project"
"""Where uv installs: a part of the home that never comes out."""


class Enclosure(Struct, frozen=True, kw_only=True):
    """What a sandbox is opened with."""

    bwrap: str
    online: bool
    tools: dict[str, str]
    shown: dict[str, str]
    environment: dict[str, str]
    """All that the agent's programs see."""
    hosts: dict[str, str]
    forwards: tuple[tuple[int, int], ...]
    """Ports of the sandbox's loopback, and where they lead on this machine's."""


def main() -> None:
    signal.signal(signal.SIGTERM, _leave)
    lost, workspace, program, *words = sys.argv[1:]
    enclosure = msgspec.json.decode(os.environ.pop(ENCLOSURE), type=Enclosure)
    try:
        code = _run(enclosure, Path(workspace), (str(TOOLS / program), *words))
    except (MeasureError, OSError) as error:
        Path(lost).write_text(str(error))
        print(error, file=sys.stderr)  # noqa: T201  what the check reads
        code = _LOST
    sys.exit(code)


def _leave(number: int, _frame: FrameType | None) -> None:
    """Out of patience with us: end what is inside and take our folders along."""
    sys.exit(128 + number)


def _run(enclosure: Enclosure, workspace: Path, argv: tuple[str, ...]) -> int:
    sandbox = Sandbox(
        network=Network.ONLINE if enclosure.online else Network.HERMETIC,
        ports=tuple(inside for inside, _ in enclosure.forwards),
        tools={name: Path(path) for name, path in enclosure.tools.items()},
        shown={Path(inside): Path(path) for inside, path in enclosure.shown.items()},
    )
    with scratch_folder("enclosed") as aside:
        files, complaints = aside / "files.tar", aside / "stderr"
        complaints.touch()
        pack(files, home={}, work=workspace)
        report = _confined(enclosure, sandbox, argv, files, complaints)
        sys.stderr.write(complaints.read_text(errors="replace"))
        if not enclosure.online and report["left_running"]:
            names = ", ".join(report["left_running"])
            print(f"left running, and ended: {names}", file=sys.stderr)  # noqa: T201
        unpack_work(files, aside / "work")
        _replace(workspace, aside / "work")
    code = report["exit_code"]
    return code if code >= 0 else 128 - code


def _confined(
    enclosure: Enclosure,
    sandbox: Sandbox,
    argv: tuple[str, ...],
    files: Path,
    complaints: Path,
) -> Report:
    job = sandbox.job(
        argv,
        env={
            **enclosure.environment,
            "UV_PROJECT_ENVIRONMENT": str(_KEPT_OUT),
            "PYTHONDONTWRITEBYTECODE": "1",
        },
        stdin=sys.stdin.read(),
    )
    with ExitStack() as held:
        session = held.enter_context(
            open_sandbox(
                Path(enclosure.bwrap),
                sandbox,
                job,
                complaints=complaints,
                hosts=enclosure.hosts,
            )
        )
        ports = () if enclosure.online else enclosure.forwards
        ways = list(
            zip(session.listeners, (outside for _, outside in ports), strict=True)
        )
        held.enter_context(forwarding(ways))
        session.begin(files)
        _pass_on(session)
        report = session.finish(files)
        for line in session.last_words():
            print(line, flush=True)  # noqa: T201
        return report


def _pass_on(session: SandboxSession) -> None:
    while not session.over():
        for line in session.hear(wait_s=_LOOK_EVERY_S):
            print(line, flush=True)  # noqa: T201


def _replace(workspace: Path, left: Path) -> None:
    """Put what was left in the workspace's place; the folder itself stays."""
    for entry in workspace.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
    for entry in left.iterdir():
        shutil.move(entry, workspace / entry.name)


if __name__ == "__main__":
    main()
