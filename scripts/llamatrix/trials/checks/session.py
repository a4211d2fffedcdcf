"""Run an agent's programs in an execution environment, one after the other.

All programs of a session share the packages that uv installs; each starts with the
workspace as it was. `inside/steps.py` runs them, and they cannot forge its reports.
"""

import base64
import hashlib
import hmac
import re
import secrets
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from msgspec import Struct

from llamatrix import shell
from llamatrix.errors import MeasureError
from llamatrix.sandbox.session import memory_file
from llamatrix.sandbox.spec import HOME
from llamatrix.scratch import scratch_folder
from llamatrix.trials.checks.execution_environment import (
    BYTECODE,
    PROJECT,
    ExecutionEnvironment,
    run_in_sandbox,
)
from llamatrix.trials.checks.keys import ENVIRONMENT_FILE
from llamatrix.trials.stubs.request_log import Request, read_requests
from llamatrix.trials.stubs.world import World

_LINE = re.compile(r"LX (\d+) ([0-9a-f]{64}) (.*)")
_SLACK_S = 60.0
_KEY_BYTES = 32
_LAST_LINES = 6
_SHARED = ("/tmp", "/dev/shm")  # noqa: S108  the sandbox's own


class CannotJudgeError(Exception):
    """A check cannot be answered, and not because of the work; the text says why."""


class TestReport(Struct, frozen=True):
    """One test, as `inside/run_tests.py` reports it."""

    __test__ = False
    test: str
    """pytest's node id."""
    body: str
    """How the function ended: passed, assertion, error, skipped, or empty: never called."""
    raised: str
    """The same, as pytest learned it."""
    outcomes: tuple[str, ...]
    """The reported outcomes of its phases, such as `call passed`."""
    skip_mark: bool
    xfail_mark: bool


class SuiteReport(Struct, frozen=True):
    """The end of a run of pytest."""

    over: bool
    code: int
    pytest: str
    collected: tuple[str, ...]
    dropped: tuple[str, ...]
    """Tests that were collected and then removed."""
    errors: tuple[str, ...]
    """Files that could not be collected."""
    modules: dict[str, str]
    """The files of the task's packages that were imported."""
    replaced: tuple[str, ...]
    """Observations of something that replaces the service's client."""


class _Ended(Struct, frozen=True, tag_field="kind", tag="ended"):
    step: int
    begun_s: float
    ended_s: float
    code: int
    timed_out: bool
    out: str
    tail: tuple[str, ...]
    report: tuple[str, ...]


class _Part(Struct, frozen=True, tag_field="kind", tag="part"):
    step: int
    file: str
    part: str


class Program(Struct, frozen=True, kw_only=True):
    """One `uv run …` of a session, in JSON a step of `inside/steps.py`."""

    name: str
    """Once a program of this name works, later ones are left out."""
    world: World = World.REAL
    """How the service answers meanwhile."""
    needs: int = -1
    """The index of a program that must have worked before this one, or -1."""
    words: tuple[str, ...]
    """The words after `uv run`."""
    options: tuple[str, ...] = ()
    """The leading `--with` options among them."""
    timeout_s: float
    until: str = ""
    """It works if it exits with 0 and prints this text."""
    without: tuple[str, ...] = ()
    """Variables removed from its environment, and with them the files such as `.env`."""
    hand_out: str = ""
    """A folder of the workspace, removed beforehand, whose files are returned."""
    files: int = 0
    """The number of such files without which it did not work."""
    reports: bool = False
    """Whether it is `inside/run_tests.py`, which writes a report."""
    installs: bool = False
    """Whether it only installs packages: then uv's lock stays in the workspace."""


@dataclass(frozen=True, kw_only=True)
class Ran:
    program: Program
    code: int
    timed_out: bool
    seconds: float
    out: str
    """The first 100,000 characters of its standard output."""
    tail: tuple[str, ...]
    report: tuple[str, ...]
    files: dict[str, bytes]
    requests: tuple[Request, ...]
    """Requests that the stubs got meanwhile; empty where the service is real."""

    @property
    def ok(self) -> bool:
        return self.code == 0 and not self.timed_out

    @property
    def command(self) -> str:
        return " ".join(("uv", "run", *self.program.words))

    @property
    def trouble(self) -> str:
        """Describe how it ended, with the last lines it wrote, for the model to read."""
        how = (
            f"did not end within {self.seconds:.0f} s"
            if self.timed_out
            else f"ended with exit code {self.code}"
        )
        last = "\n".join(self.tail[-_LAST_LINES:])
        return f"`{self.command}` {how}:\n{last}"


def run_session(
    workspace: Path,
    execution: ExecutionEnvironment,
    programs: Sequence[Program],
    *,
    on_first: Callable[[], None] = lambda: None,
) -> tuple[Ran, ...]:
    """Run programs on a copy of the workspace; return those that were not left out.

    A program that kills `steps.py` loses the reports of itself and all later ones.
    `on_first` is called when the first program has ended. CannotJudgeError where the
    sandbox did not open or was lost.
    """
    if not programs:
        return ()
    key, sandbox = secrets.token_bytes(_KEY_BYTES), execution.sandbox
    plan = msgspec.json.encode(
        {
            "key": key.hex(),
            "private": (HOME, *_SHARED) if sandbox else (),
            "alone": sandbox is not None,
            "installed": PROJECT.parent if sandbox else "",
            "bytecode": BYTECODE if sandbox and BYTECODE in sandbox.shown else "",
            "switch": execution.switch,
            "environment_file": ENVIRONMENT_FILE.pattern,
            "steps": programs,
        },
        enc_hook=str,
    )
    if execution.switch:
        switch_key = Path(execution.switch_key)
        switch_key.touch(mode=0o600)
        switch_key.write_bytes(key)
    reports = _Reports(key, on_first)
    timeout_s = sum(each.timeout_s for each in programs) + _SLACK_S
    argv = ("python3", "-I", "-S", f"{execution.inside}/steps.py")
    if sandbox:
        try:
            run_in_sandbox(
                sandbox,
                workspace,
                *argv,
                stdin=plan.decode(),
                timeout_s=timeout_s,
                on_line=reports.take,
            )
        except (MeasureError, OSError) as error:
            raise CannotJudgeError(str(error)) from error
    else:
        with scratch_folder("session") as aside, memory_file("plan", plan) as stdin:
            copy = aside / "workspace"
            shutil.copytree(workspace, copy, symlinks=True)
            shell.run(
                argv,
                cwd=copy,
                env=execution.environment,
                stdin=stdin,
                timeout_s=timeout_s,
                on_line=lambda _, line: reports.take(line),
            )
    log = read_requests(Path(execution.requests)) if execution.requests else ()
    return tuple(
        Ran(
            program=programs[each.step],
            code=each.code,
            timed_out=each.timed_out,
            seconds=each.ended_s - each.begun_s,
            out=each.out,
            tail=each.tail,
            report=each.report,
            files=reports.files_of(each.step),
            requests=tuple(
                request
                for request in log
                if each.begun_s <= request.at_s <= each.ended_s
            ),
        )
        for each in reports.ended
    )


@dataclass
class _Reports:
    """The reports so far: complete lines, in order, with the right digest."""

    key: bytes
    on_first: Callable[[], None]
    ended: list[_Ended] = field(default_factory=list)
    parts: dict[tuple[int, str], list[str]] = field(default_factory=dict)
    count: int = 0

    def take(self, line: str) -> None:
        match = _LINE.fullmatch(line)
        if match is None or int(match[1]) != self.count:
            return
        signed = f"{match[1]} {match[3]}".encode()
        digest = hmac.new(self.key, signed, hashlib.sha256).hexdigest()
        if not hmac.compare_digest(digest, match[2]):
            return
        self.count += 1
        report = msgspec.json.decode(match[3], type=_Ended | _Part)
        if isinstance(report, _Part):
            self.parts.setdefault((report.step, report.file), []).append(report.part)
        else:
            self.ended.append(report)
            if len(self.ended) == 1:
                self.on_first()

    def files_of(self, step: int) -> dict[str, bytes]:
        return {
            name: b"".join(base64.b64decode(part) for part in parts)
            for (number, name), parts in self.parts.items()
            if number == step
        }
