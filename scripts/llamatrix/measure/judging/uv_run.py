"""Runs the agent's programs by `uv run`, and counts what they asked the service."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

from llamatrix import shell
from llamatrix.measure.judging.ground import WORKSPACE, Ground
from llamatrix.measure.judging.task import Service
from llamatrix.measure.standins.request_log import Request, read_requests

_REPORT = ".judged-tests.xml"
_LAST_LINES = 6
_OUTPUT_CHARACTERS = 1 << 20
_UNREACHABLE = re.compile(
    r"error sending request for url|network was disabled|dns error"
    r"|failed to lookup address|invalid peer certificate",
    re.IGNORECASE,
)


class CannotJudgeError(Exception):
    """Something that is not the agent's doing stands in the way; its text says what."""


@dataclass(frozen=True, kw_only=True)
class Ran:
    words: tuple[str, ...]
    """What was run, from `uv` on."""
    ended: shell.Ended
    out: str
    """Its standard output, as much as anyone will read."""
    requests: tuple[Request, ...]
    """What the stand-ins were asked meanwhile; empty where the service is real."""

    @property
    def trouble(self) -> str:
        """How it ended, for the model to read: the last lines it wrote."""
        how = (
            f"did not end within {self.ended.seconds:.0f} s"
            if self.ended.limit
            else f"ended with exit code {self.ended.returncode}"
        )
        last = "\n".join(self.ended.tail[-_LAST_LINES:])
        return f"`{' '.join(self.words)}` {how}:\n{last}"


@dataclass(frozen=True, kw_only=True)
class Tests:
    """What pytest made of the tests, in counts of its report."""

    ran: Ran
    passed: int
    failed: int
    """Failures and errors."""
    skipped: int

    @property
    def good(self) -> bool:
        return self.passed > 0 and not self.failed and self.ran.ended.ok


@dataclass(frozen=True, kw_only=True)
class Uv:
    workspace: Path
    ground: Ground
    timeout_s: float

    def run(self, *words: str) -> Ran:
        """`uv run WORDS` in the workspace.

        CannotJudgeError without packages, and where the sandbox was lost.
        """
        log = Path(self.ground.requests) if self.ground.requests else None
        before = len(read_requests(log)) if log else 0
        prefix = (
            word.replace(WORKSPACE, str(self.workspace)) for word in self.ground.prefix
        )
        out = _Kept()
        ended = shell.run(
            [*prefix, "uv", "run", *words],
            cwd=self.workspace,
            env=self.ground.environment,
            timeout_s=self.timeout_s,
            on_line=out.take,
        )
        self._refuse_lost()
        text = "\n".join(ended.tail)
        if not ended.ok and _UNREACHABLE.search(text) and _uv_spoke(text):
            raise CannotJudgeError(f"uv cannot reach its package index:\n{text}")
        return Ran(
            words=("uv", "run", *words),
            ended=ended,
            out="\n".join(out.lines),
            requests=read_requests(log)[before:] if log else (),
        )

    def _refuse_lost(self) -> None:
        """What a lost sandbox left undone is no fault of the work."""
        note = Path(self.ground.lost) if self.ground.lost else None
        if note and note.exists():
            why = note.read_text()
            note.unlink()
            raise CannotJudgeError(why)

    def script(self, name: str, packages: tuple[str, ...]) -> Iterator[Ran]:
        """Run a script as it stands, with packages beside it, as a module of one."""
        yield self.run(name)
        yield self.run(*_with(packages), "python", name)
        if "/" in name:
            module = name.removeprefix("src/").removesuffix(".py").replace("/", ".")
            yield self.run(*_with(packages), "python", "-m", module)

    def tests(self, names: tuple[str, ...], packages: tuple[str, ...]) -> Tests:
        """Run these test files: as a project's, as a module, with packages beside.

        The first way in which they pass counts, else the last in which a test ran.
        """
        best: Tests | None = None
        for way in (
            ("pytest",),
            ("python", "-m", "pytest"),
            (*_with(packages), "python", "-m", "pytest"),
        ):
            tests = self._tests_once(way, names)
            if tests.good:
                return tests
            if best is None or tests.passed + tests.failed:
                best = tests
        assert best is not None  # noqa: S101 - three ways were tried
        return best

    def _tests_once(self, way: tuple[str, ...], names: tuple[str, ...]) -> Tests:
        report = self.workspace / _REPORT
        report.unlink(missing_ok=True)
        flags = ("-q", "-p", "no:cacheprovider", f"--junit-xml={_REPORT}")
        ran = self.run(*way, *flags, *names)
        passed, failed, skipped = _counts(report)
        return Tests(ran=ran, passed=passed, failed=failed, skipped=skipped)


class _Kept:
    """Standard output up to a size: an agent's program may never stop writing."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._rest = _OUTPUT_CHARACTERS

    def take(self, channel: shell.Channel, line: str) -> None:
        self._rest -= len(line)
        if channel is shell.Channel.OUT and self._rest > 0:
            self.lines.append(line)


def _with(packages: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(word for package in packages for word in ("--with", package))


def _uv_spoke(text: str) -> bool:
    """Whether the complaint is uv's own, not that of the program it ran."""
    return "Traceback" not in text and "= FAILURES =" not in text


def _counts(report: Path) -> tuple[int, int, int]:
    """Passed, failed and skipped of a JUnit report; zeros where there is none."""
    try:
        text = report.read_text()
        if "<!DOCTYPE" in text:  # pytest writes none; entities could fill the memory
            return 0, 0, 0
        root = ET.fromstring(text)  # noqa: S314
    except (OSError, ET.ParseError, UnicodeDecodeError):
        return 0, 0, 0
    total = failed = skipped = 0
    for case in root.iter("testcase"):
        total += 1
        failed += case.find("failure") is not None or case.find("error") is not None
        skipped += case.find("skipped") is not None
    return total - failed - skipped, failed, skipped


def asked(requests: tuple[Request, ...], service: Service) -> tuple[Request, ...]:
    """Those the service itself answered well."""
    return tuple(
        request
        for request in requests
        if request.host == service.host
        and request.method == service.method
        and re.fullmatch(service.path, request.path)
        and request.status == 200  # noqa: PLR2004
    )
