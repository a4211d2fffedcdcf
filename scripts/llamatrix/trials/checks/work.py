"""The workspace that is judged: what its files are, and what its log tells."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from msgspec import Struct

from llamatrix.agents.protocol import ToolCall
from llamatrix.agents.trajectory import read_trajectory
from llamatrix.trials.checks.execution_environment import ExecutionEnvironment
from llamatrix.trials.checks.packages import (
    in_requirements,
    named_with,
    normal,
    third_party,
)
from llamatrix.trials.checks.sources import Source, read_sources
from llamatrix.trials.checks.task import Task
from llamatrix.trials.checks.ways import Words
from llamatrix.trials.stubs.request_log import Request, read_requests
from llamatrix.trials.stubs.world import World


class Case(Struct, frozen=True, kw_only=True):
    task: Task
    workspace: str
    """A copy, free to be changed."""
    transcript: str | None
    execution: ExecutionEnvironment
    checks: tuple[str, ...]
    """Those to answer."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Which of the work's programs are run in which worlds."""

    script: Mapping[World, str]
    """What the script must print in each world."""
    suite: tuple[World, ...]
    doubts: tuple[World, ...] = ()
    """Worlds in which tests that assert something fail on an assertion; those not in
    `suite` are entered only where it takes them."""
    keyless: bool = False
    """Whether programs are also run without the service's key, in the FAILING world."""
    folder: str = ""
    """Where the script puts files that are looked at."""
    files: int = 0
    """How many there are to be."""
    arguments: Mapping[str, str] = field(default_factory=dict)
    """Values for arguments that a script may ask for, by a pattern of the name."""


@dataclass
class Work:
    """The files of a workspace; each is read once, when first asked for."""

    case: Case
    plan: Plan

    @property
    def task(self) -> Task:
        return self.case.task

    @property
    def folder(self) -> Path:
        return Path(self.case.workspace)

    @property
    def counts_requests(self) -> bool:
        """Whether the service is a stand-in with a log."""
        return self.case.execution.requests is not None

    @cached_property
    def agents_requests(self) -> tuple[Request, ...] | None:
        """What the agent's own session asked the stand-ins; None where nobody knows."""
        log = self.case.execution.agents_requests
        return read_requests(Path(log)) if log else None

    @cached_property
    def sources(self) -> tuple[Source, ...]:
        return tuple(each for each in self.every_source if not _is_hidden(each))

    @cached_property
    def every_source(self) -> tuple[Source, ...]:
        return read_sources(self.folder, hidden=True)

    @property
    def scripts(self) -> tuple[Source, ...]:
        return tuple(each for each in self.sources if not each.is_test)

    @property
    def test_files(self) -> tuple[Source, ...]:
        """Files that are there to test; without any, scripts with tests in them."""
        found = [each for each in self.sources if each.is_test and not each.is_conftest]
        return tuple(found or [each for each in self.sources if each.has_tests])

    @cached_property
    def calls(self) -> tuple[ToolCall, ...] | None:
        """The trajectory's tool calls; None where none was given."""
        path = self.case.transcript
        return read_trajectory(Path(path)) if path is not None else None

    @cached_property
    def packages(self) -> Words:
        """What may be put beside the code.

        Packages that the task knows, pytest, and those that the work's own commands or
        `requirements.txt` name. Never just what is imported: a module's misspelt name may be a package too.
        """
        known = {normal(name) for name in self.task.packages.values()}
        used = third_party(self.sources, self.task.packages)
        commands = [call.command for call in self.calls or ()]
        named = named_with(self.folder, commands) | in_requirements(self.folder)
        return tuple(sorted({*known.intersection(used), *named, "pytest"}))


def _is_hidden(source: Source) -> bool:
    return any(part.startswith(".") for part in Path(source.name).parts[:-1])
