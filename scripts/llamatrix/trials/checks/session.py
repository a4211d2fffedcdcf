"""Runs an agent's programs in an execution environment, one after the other, and reads the reports.

All programs of one session share what uv installs; the workspace is what it was before
each. `inside/steps.py` runs them: its reports cannot be forged by what it runs.
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
from llamatrix.scratch import scratch_folder
from llamatrix.trials.checks.execution_environment import (
    ExecutionEnvironment,
    run_in_sandbox,
)
from llamatrix.trials.stubs.request_log import Request, read_requests
from llamatrix.trials.stubs.world import World

_LINE = re.compile(r"LX (\d+) ([0-9a-f]{64}) (.*)")
_SLACK_S = 60.0
_KEY_BYTES = 32


class CannotJudgeError(Exception):
    """Something that is not the agent's doing stands in the way; its text says what."""


class TestReport(Struct, frozen=True):
    """One test, as `inside/run_tests.py` saw it."""

    __test__ = False
    test: str
    """pytest's name of it."""
    body: str
    """How its function ended: passed, assertion, error, skipped; empty: never called."""
    raised: str
    """The same, as pytest was told."""
    outcomes: tuple[str, ...]
    """What was reported of its phases, such as `call passed`."""
    skip_mark: bool
    xfail_mark: bool


class SuiteReport(Struct, frozen=True):
    """The end of a run of pytest."""

    over: bool
    code: int
    pytest: str
    collected: tuple[str, ...]
    dropped: tuple[str, ...]
    """Collected, then taken out again."""
    errors: tuple[str, ...]
    """Files that could not be collected."""
    modules: dict[str, str]
    """Packages of the task that were imported, and from where."""
    replaced: tuple[str, ...]
    """What stood in for the service's client, in words."""


class _Ended(Struct, frozen=True):
    step: int
    begun_s: float
    ended_s: float
    code: int
    timed_out: bool
    out: str
    tail: tuple[str, ...]
    report: tuple[str, ...]


class _Part(Struct, frozen=True):
    step: int
    file: str
    part: str


@dataclass(frozen=True, kw_only=True)
class Program:
    """One `uv run …` of a session."""

    name: str
    """Of several with the same name, those after the first that works are left out."""
    world: World = World.REAL
    """The one that the service is in meanwhile."""
    needs: int = -1
    """The place of a program without whose success this one is left out."""
    words: tuple[str, ...]
    """After `uv run`."""
    way: tuple[str, ...] = ()
    """The first of them, which say what is put beside the project."""
    timeout_s: float
    until: str = ""
    """It works when it exits with 0 and prints this."""
    without: tuple[str, ...] = ()
    """Variables taken out of its environment."""
    hand_out: str = ""
    """A folder of the workspace, removed beforehand, whose files are handed out."""
    files: int = 0
    """It works when there are so many of them."""
    reports: bool = False
    installs: bool = False
    """Whether it only installs: uv's lock, which it makes, then stays."""


@dataclass(frozen=True, kw_only=True)
class Ran:
    """How a program ended."""

    program: Program
    code: int
    timed_out: bool
    seconds: float
    out: str
    """Its standard output, the first 100,000 characters."""
    tail: tuple[str, ...]
    report: tuple[str, ...]
    files: dict[str, bytes]
    requests: tuple[Request, ...]
    """What the stand-ins were asked meanwhile; empty where the service is real."""

    @property
    def ok(self) -> bool:
        return self.code == 0 and not self.timed_out

    @property
    def command(self) -> str:
        return " ".join(("uv", "run", *self.program.words))

    @property
    def trouble(self) -> str:
        """How it ended, for the model to read: the last lines it wrote."""
        how = (
            f"did not end within {self.seconds:.0f} s"
            if self.timed_out
            else f"ended with exit code {self.code}"
        )
        last = "\n".join(self.tail[-_LAST_LINES:])
        return f"`{self.command}` {how}:\n{last}"


_LAST_LINES = 6


def run_session(
    workspace: Path,
    execution: ExecutionEnvironment,
    programs: Sequence[Program],
    *,
    on_first: Callable[[], None] = lambda: None,
) -> tuple[Ran, ...]:
    """Run programs on a copy of the workspace; those that were left out are missing.

    Also missing are those after one that ended its own judge. CannotJudgeError where
    the sandbox was lost. `on_first` is called when the first program has ended.
    """
    if not programs:
        return ()
    key = secrets.token_bytes(_KEY_BYTES)
    plan = msgspec.json.encode(_plan(execution, programs, key))
    if execution.switch:
        switch_key = Path(execution.switch_key)
        switch_key.touch(mode=0o600)
        switch_key.write_bytes(key)
    told = _Told(key, on_first)
    timeout_s = sum(each.timeout_s for each in programs) + _SLACK_S
    argv = ("python3", "-I", "-S", f"{execution.inside}/steps.py")
    if execution.sandbox:
        try:
            run_in_sandbox(
                execution.sandbox,
                workspace,
                *argv,
                stdin=plan.decode(),
                timeout_s=timeout_s,
                on_line=told.take,
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
                on_line=lambda _, line: told.take(line),
            )
    log = read_requests(Path(execution.requests)) if execution.requests else ()
    return tuple(_ran(programs[each.step], each, told, log) for each in told.ended)


def _plan(
    execution: ExecutionEnvironment, programs: Sequence[Program], key: bytes
) -> dict[str, object]:
    return {
        "key": key.hex(),
        "private": execution.private,
        "alone": bool(execution.private),
        "installed": execution.installed,
        "bytecode": execution.bytecode,
        "switch": execution.switch,
        "steps": [
            {
                "name": each.name,
                "argv": ("uv", "run", *each.words),
                "env": {},
                "unset": each.without,
                "timeout_s": each.timeout_s,
                "world": each.world if execution.switch else "",
                "needs": each.needs,
                "until": each.until,
                "hand_out": each.hand_out,
                "files": each.files,
                "remove": each.hand_out,
                "installs": each.installs,
                "report": each.reports,
            }
            for each in programs
        ],
    }


def _ran(program: Program, ended: _Ended, told: "_Told", log: Sequence[Request]) -> Ran:
    return Ran(
        program=program,
        code=ended.code,
        timed_out=ended.timed_out,
        seconds=ended.ended_s - ended.begun_s,
        out=ended.out,
        tail=ended.tail,
        report=ended.report,
        files=told.files_of(ended.step),
        requests=tuple(
            each for each in log if ended.begun_s <= each.at_s <= ended.ended_s
        ),
    )


@dataclass
class _Told:
    """The reports so far: whole, in order, and nobody else's."""

    key: bytes
    on_first: Callable[[], None]
    ended: list[_Ended] = field(default_factory=list)
    over: bool = False
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
        self._add(match[3])

    def _add(self, text: str) -> None:
        raw = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
        if "over" in raw:
            self.over = True
        elif "file" in raw:
            part = msgspec.json.decode(text, type=_Part)
            self.parts.setdefault((part.step, part.file), []).append(part.part)
        else:
            self.ended.append(msgspec.json.decode(text, type=_Ended))
            if len(self.ended) == 1:
                self.on_first()

    def files_of(self, step: int) -> dict[str, bytes]:
        return {
            name: b"".join(base64.b64decode(part) for part in parts)
            for (number, name), parts in self.parts.items()
            if number == step
        }
