"""Where an agent's programs run while they are judged, and how a sandbox runs them."""

import time
from collections.abc import Callable
from pathlib import Path

from msgspec import Struct

from llamatrix.sandbox.session import open_sandbox
from llamatrix.sandbox.spec import HOME, TOOLS, SandboxSpec
from llamatrix.sandbox.workspace_archive import pack
from llamatrix.scratch import scratch_folder

INSIDE = Path(__file__).with_name("inside")
"""Our programs that run beside judged ones."""
INSIDE_SANDBOX = Path("/opt/llamatrix/judging")
"""Where a sandbox shows them."""
BYTECODE = Path("/opt/llamatrix/bytecode")
"""Where a sandbox shows the compiled modules of the locked wheels, read-only."""
PROJECT = HOME / ".cache" / "project"
"""The virtual environment that uv makes for the judged project, in a sandbox."""
_POLL_S = 0.02


class ExecutionEnvironment(Struct, frozen=True, kw_only=True):
    """Where judged programs run, and which services they reach there."""

    sandbox: SandboxSpec | None = None
    """None only for work that is trusted: it runs as this machine's user."""
    environment: dict[str, str] = {}
    """All variables of programs outside a sandbox. `uv` is found on its `PATH`."""
    requests: str | None = None
    """The log of the stub services; None where the real ones are asked."""
    agents_requests: str | None = None
    """The same log of the agent's own session, where there was one."""
    title: str = ""
    """How the post service's first title begins in the world OTHER."""
    switch: int = 0
    """The port, as judged programs see it, that changes the service's world; 0 for none."""
    switch_key: str = ""
    """The file from which the switch reads the key of its commands."""
    tests: "ExecutionEnvironment | None" = None
    """A second environment, with services of its own: the tests run there meanwhile."""
    secrets: tuple[str, ...] = ()
    """What must appear neither in code nor in findings."""

    @property
    def inside(self) -> Path:
        """The folder `INSIDE`, as judged programs see it."""
        return INSIDE_SANDBOX if self.sandbox else INSIDE


def run_in_sandbox(
    sandbox: SandboxSpec,
    workspace: Path,
    program: str,
    *words: str,
    stdin: str,
    timeout_s: float,
    on_line: Callable[[str], None],
) -> None:
    """Run one tool of the sandbox on a copy of the workspace, with `stdin` as its input.

    `on_line` gets each line of its standard output. Everything it started is ended and
    everything it wrote is gone when this returns, after `timeout_s` at the latest.
    MeasureError where the sandbox did not open, or ended without a report: nothing that
    a judged program can do leads to either.
    """
    environment = {
        **sandbox.environment,
        "UV_PROJECT_ENVIRONMENT": str(PROJECT),
        "PYTHONDONTWRITEBYTECODE": "1",  # the next program would run it
    }
    job = sandbox.job((str(TOOLS / program), *words), env=environment, stdin=stdin)
    with scratch_folder("sandbox") as aside:
        files, stderr = aside / "files.tar", aside / "stderr"
        stderr.touch()
        pack(files, home={}, work=workspace)
        with open_sandbox(sandbox, job, complaints=stderr) as session:
            session.begin(files)
            until = time.monotonic() + timeout_s
            while not session.over():
                if time.monotonic() > until:
                    return
                for line in session.hear(wait_s=_POLL_S):
                    on_line(line)
            session.finish(files)
            for line in session.last_words():
                on_line(line)
