"""What a check looks at: a workspace, and what its programs do when they run."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from threading import Event

import msgspec
from msgspec import Struct

from llamatrix.agents.protocol import ToolCall
from llamatrix.agents.trajectory import read_trajectory
from llamatrix.trials.checks.execution_environment import ExecutionEnvironment
from llamatrix.trials.checks.packages import (
    Words,
    commands_with_arguments,
    declared,
    documented_commands,
    entry_points,
    in_requirements,
    named_with,
    normal,
    script_commands,
    third_party,
    with_packages,
)
from llamatrix.trials.checks.session import Program, Ran, run_session
from llamatrix.trials.checks.sources import Source, read_sources, text_of
from llamatrix.trials.checks.suite import Suite, expected_tests
from llamatrix.trials.checks.task import Task
from llamatrix.trials.stubs.request_log import Request, read_requests
from llamatrix.trials.stubs.world import World

_SCRIPT, _SUITE = "script", "suite"
_MAY_HAVE_A_KEY = re.compile(
    r"environ|env\b|key|header|credential|exec|eval|base64|b64|codecs|chr\(|fromhex"
    r"|getattr|setattr|__import__|import_module|subprocess",
    re.IGNORECASE,
)
"""A program without any of these gets its key from the SDK, which reads the variable."""
_PYTEST_FLAGS = ("-q", "-p", "no:cacheprovider", "--tb=short", "--color=no")
_OK = 200
_Make = Callable[[Words, World, Words], Program]


class Case(Struct, frozen=True, kw_only=True):
    task: Task
    workspace: str
    """A copy that checks may change."""
    transcript: str | None
    execution: ExecutionEnvironment
    checks: tuple[str, ...]
    """The checks to answer."""


def encode_case(case: Case) -> bytes:
    return msgspec.json.encode(case, enc_hook=str)


def decode_case(text: bytes) -> Case:
    return msgspec.json.decode(text, type=Case, dec_hook=lambda kind, path: kind(path))


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Which programs of the work run in which worlds."""

    script: Mapping[World, str]
    """What the script must print in each world."""
    suite: tuple[World, ...]
    doubts: tuple[World, ...] = ()
    """Worlds in which tests that assert something fail on an assertion. Those that are
    not in `suite` are tried only if the others leave it open."""
    keyless: bool = False
    """Whether programs also run without the service's key, in the world FAILING."""
    folder: str = ""
    """The folder in which the script puts its files."""
    files: int = 0
    """How many files it must put there."""
    arguments: Mapping[str, str] = field(default_factory=dict)
    """Values for a script's arguments, by a pattern of the argument's name."""


@dataclass
class Evidence:
    """A workspace, its files and its runs; each is read or run once, on first use."""

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
        """Whether the service is a stub with a log of its requests."""
        return self.case.execution.requests is not None

    @cached_property
    def agents_requests(self) -> tuple[Request, ...] | None:
        """The requests of the agent's own session; None where they are not known."""
        log = self.case.execution.agents_requests
        return read_requests(Path(log)) if log else None

    @cached_property
    def sources(self) -> tuple[Source, ...]:
        return tuple(
            each
            for each in self.every_source
            if not any(part.startswith(".") for part in Path(each.name).parts[:-1])
        )

    @cached_property
    def every_source(self) -> tuple[Source, ...]:
        return read_sources(self.folder, hidden=True)

    @property
    def scripts(self) -> tuple[Source, ...]:
        return tuple(each for each in self.sources if not each.is_test)

    @property
    def test_files(self) -> tuple[Source, ...]:
        """Return the files with tests only; if there are none, scripts that have tests."""
        pure = [each for each in self.sources if each.is_test and not each.is_conftest]
        return tuple(pure or [each for each in self.sources if each.has_tests])

    @cached_property
    def calls(self) -> tuple[ToolCall, ...] | None:
        """The trajectory's tool calls; None without a trajectory."""
        path = self.case.transcript
        return read_trajectory(Path(path)) if path is not None else None

    @cached_property
    def packages(self) -> Words:
        """Return the packages for `uv run --with`.

        These are pytest, imported packages that the task knows, and those that the
        work's own commands or `requirements.txt` name. An import alone is not enough:
        a misspelt module may be the name of a malicious package.
        """
        known = {normal(name) for name in self.task.packages.values()}
        used = third_party(self.sources, self.task.packages)
        commands = [call.command for call in self.calls or ()]
        named = named_with(self.folder, commands) | in_requirements(self.folder)
        return tuple(sorted({*known.intersection(used), *named, "pytest"}))

    def answered(self, ran: Ran) -> tuple[Request, ...]:
        """Return the requests that the task is about, answered with status 200."""
        service = self.task.service
        return tuple(
            each
            for each in ran.requests
            if each.host == service.host
            and each.method == service.method
            and re.fullmatch(service.path, each.path)
            and each.status == _OK
        )

    def script_run(self, world: World) -> Ran | None:
        """Return the run in which the script worked, else the one with most files."""
        name = f"{_SCRIPT} {world}"
        runs = [each for each in self.every_run if each.program.name == name]
        return max(
            runs,
            key=lambda ran: (self._works(ran), len(ran.files), ran.ok),
            default=None,
        )

    def suite(self, world: World) -> Suite | None:
        """Return the tests' run in a world; None where there is no report of it."""
        if world in self.plan.doubts and world not in self.plan.suite:
            return self._doubted.get(world)
        return self._suite_of(self._runs, world)

    @property
    def every_run(self) -> tuple[Ran, ...]:
        return (*self._runs, *self._runs_with_arguments)

    @cached_property
    def _script_commands(self) -> list[Words]:
        heads = {name.split(".")[0] for name in self.task.packages}

        def is_unlikely(source: Source) -> tuple[bool, bool]:
            used = {name.split(".")[0] for name in source.imported}
            return heads.isdisjoint(used), "__main__" not in source.text

        likely = sorted(self.scripts, key=is_unlikely)
        return list(script_commands(likely, entry_points(self.folder), self.packages))

    @cached_property
    def _runs(self) -> tuple[Ran, ...]:
        """Run all programs of the work, in every world of the plan.

        Where the tests have an environment of their own, the scripts run at the same
        time. They start when the tests' packages are installed: two installations at
        once would slow down the tests, which take longer.
        """
        execution, installed = self.case.execution, Event()
        scripts, suites = self._script_programs(), self._suite_programs()

        def run_suites() -> tuple[Ran, ...]:
            try:
                tests = execution.tests or execution
                return run_session(self.folder, tests, suites, on_first=installed.set)
            finally:
                installed.set()

        with ThreadPoolExecutor(max_workers=1) as pool:
            beside = pool.submit(run_suites)
            (installed.wait if execution.tests else beside.exception)()
            ran = run_session(self.folder, execution, scripts)
            return (*ran, *beside.result())

    def _script_programs(self) -> list[Program]:
        return self._session(
            self._suite_options[0],
            self._script,
            self._script_commands,
            set(self.plan.script) - {World.REAL},
            without=self._key_to_leave_out(tests=False),
        )

    def _suite_programs(self) -> list[Program]:
        return self._session(
            self._suite_options[0],
            self._tests,
            self._suite_options if self.test_files else (),
            self.plan.suite[1:],
            without=self._key_to_leave_out(tests=True),
        )

    def _session(
        self,
        packages: Words,
        make: "_Make",
        alternatives: Sequence[Words],
        worlds: Iterable[World],
        *,
        without: Words = (),
    ) -> list[Program]:
        """Return the programs of a session: the alternatives in the world REAL first.

        In the others, and in FAILING `without` variables, an alternative runs only if it
        worked before.
        """
        if not alternatives:
            return []
        programs = [self._installs(packages)]
        programs += [make(words, World.REAL, ()) for words in alternatives]
        more: list[tuple[World, Words]] = []
        if self.case.execution.switch:
            more += [(world, ()) for world in worlds]
            more += [(World.FAILING, without)] if without else []
        programs += [
            msgspec.structs.replace(make(words, world, left_out), needs=number)
            for world, left_out in more
            for number, words in enumerate(alternatives, 1)
        ]
        return programs

    @cached_property
    def _suite_options(self) -> list[Words]:
        beside = with_packages(self.packages)
        project = (self.folder / "pyproject.toml").is_file()
        return (
            [(), beside] if project and "pytest" in declared(self.folder) else [beside]
        )

    def _key_to_leave_out(self, *, tests: bool) -> Words:
        """Return the variables without which code that may contain a key runs again."""
        texts = (each.text for each in self.every_source if each.is_test is tests)
        if not self.plan.keyless or not any(map(_MAY_HAVE_A_KEY.search, texts)):
            return ()
        return tuple(filter(None, (self.task.service.key, "GOOGLE_API_KEY")))

    def _installs(self, packages: Words) -> Program:
        """Install packages first, so that changes by judged programs are noticed."""
        return Program(
            name="preparation",
            words=(*packages, "python", "-c", ""),
            timeout_s=self.task.limits.program_s,
            installs=True,
        )

    @cached_property
    def _runs_with_arguments(self) -> tuple[Ran, ...]:
        """Run scripts that do not work without arguments as their usage or docs say."""
        name = f"{_SCRIPT} {World.REAL}"
        runs = [ran for ran in self._runs if ran.program.name == name]
        if any(self._works(ran) for ran in runs):
            return ()
        more: dict[Words, None] = dict.fromkeys(
            documented_commands(self.folder, self.scripts)
        )
        for ran in runs:
            output = "\n".join((ran.out, *ran.tail))
            words = commands_with_arguments(
                ran.program.words, output, self.plan.arguments
            )
            more |= dict.fromkeys(words)
        fresh = [each for each in more if each not in self._script_commands]
        worlds = set(self.plan.script) - {World.REAL}
        programs = self._session((), self._script, fresh, worlds)
        return run_session(self.folder, self.case.execution, programs)

    @cached_property
    def _doubted(self) -> dict[World, Suite]:
        """Run the tests in the worlds that settle whether they assert anything."""
        worlds = [each for each in self.plan.doubts if each not in self.plan.suite]
        real = self.suite(World.REAL)
        if real is None or not self.case.execution.switch:
            return {}
        options = real.ran.program.options
        programs = [self._installs(options)]
        programs += [self._tests(options, world) for world in worlds]
        runs = run_session(self.folder, self.case.execution, programs)
        suites = {world: self._suite_of(runs, world) for world in worlds}
        return {world: suite for world, suite in suites.items() if suite}

    def _suite_of(self, runs: Sequence[Ran], world: World) -> Suite | None:
        """Return the run in which the tests passed, else the last in which any ran."""
        suites = [
            Suite(each, expected_tests(self.test_files))
            for each in runs
            if each.program.name == f"{_SUITE} {world}"
        ]
        good = [each for each in suites if each.good]
        ran = [each for each in suites if each.tests]
        return next(iter(good or ran[::-1] or suites), None)

    def _script(self, words: Words, world: World, without: Words = ()) -> Program:
        return Program(
            name=" ".join((_SCRIPT, world, *without[:1])),
            world=world,
            words=words,
            timeout_s=self.task.limits.program_s,
            until="" if without else self.expected(world),
            without=without,
            hand_out=self.plan.folder,
            files=0 if without else self.plan.files,
        )

    def _tests(self, options: Words, world: World, without: Words = ()) -> Program:
        inside = f"{self.case.execution.inside}/run_tests.py"
        files = tuple(each.name for each in self.test_files)
        rest = ("python", "-P", inside, ".", ",".join(self.task.packages))
        return Program(
            name=" ".join((_SUITE, world, *without[:1])),
            world=world,
            words=(*options, *rest, *_PYTEST_FLAGS, *self._unused_plugin, *files),
            options=options,
            timeout_s=self.task.limits.program_s,
            without=without,
            reports=True,
        )

    @cached_property
    def _unused_plugin(self) -> Words:
        """Flags that disable anyio's pytest plugin where nothing mentions it.

        anyio is a dependency of both services' clients. With its plugin, pytest
        rewrites and compiles all of anyio in each run.
        """
        settings = ("pyproject.toml", "pytest.ini", "setup.cfg", "tox.ini")
        places = [self.folder / name for name in settings]
        texts = [each.text for each in self.every_source]
        texts += [text_of(place) for place in places if place.is_file()]
        return () if any("anyio" in text for text in texts) else ("-p", "no:anyio")

    def expected(self, world: World) -> str:
        """Return what the script must print in a world."""
        if world is World.OTHER:
            return self.case.execution.title
        return self.plan.script.get(world, "")

    def _works(self, ran: Ran) -> bool:
        printed = self.expected(ran.program.world) in " ".join(ran.out.split())
        return ran.ok and printed and len(ran.files) >= self.plan.files
