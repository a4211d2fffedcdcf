"""Runs a sweep of llama-bench: rows as they stream, failures as data.

llama-bench ends at the first test that fails. The remaining tests then run in a new
process, so that one size that is too large costs one size.
"""

import shlex
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from llamatrix import shell
from llamatrix.config.cell import SpeedTest
from llamatrix.config.matrix import Backend, Sweep
from llamatrix.engines.llama_cpp import llama_bench
from llamatrix.engines.outcome import Done, Invalid, Outcome, OutOfMemory, TimedOut
from llamatrix.errors import MeasureError
from llamatrix.measure.disturbances import disturbances
from llamatrix.measure.telemetry import Telemetry, WarmUp, held_bytes, sampling
from llamatrix.measure.warm_up import warm_up
from llamatrix.measured_environment import measured_environment
from llamatrix.redaction import without_folders

_EXPLAIN_TIMEOUT_S = 300
_SHOWN_CHARACTERS = 500


class Process(msgspec.Struct, frozen=True, kw_only=True):
    """The llama-bench process that a row came from."""

    id: str
    argv: tuple[str, ...]
    """As started, in the folder of the weights."""
    started_at: str
    """UTC, ISO 8601."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MeasuredTest:
    test: SpeedTest
    outcome: Outcome
    process: Process
    telemetry: Telemetry


@dataclass(frozen=True, kw_only=True, slots=True)
class Bench:
    """The program, weights and sweep of a measurement."""

    program: Path
    weights: Path
    commit: str
    """The commit that the program must report in its rows."""
    sweep: Sweep
    log: Path
    backend: Backend | None = None
    """The backend that must have computed the rows; None accepts any."""
    warm_up_limit_s: float = 0.0
    """How long GPUs may take to reach their steady state; 0 skips the warm-up."""


def run_sweep(
    bench: Bench,
    tests: Sequence[SpeedTest],
    *,
    on_measured: Callable[[MeasuredTest], None],
    on_progress: Callable[[str], None] = lambda _: None,
) -> list[shell.Ended]:
    """Measure the tests in order and pass each on as soon as its outcome is known.

    Returns how each process ended.
    """
    rest = list(tests)
    processes: list[shell.Ended] = []
    warmed = warmed_up(bench) if rest else None

    def annotate(measured: MeasuredTest) -> None:
        outcome, telemetry = measured.outcome, measured.telemetry
        sample = outcome.result if isinstance(outcome, Done) else None
        telemetry = msgspec.structs.replace(
            telemetry, warm_up=warmed, disturbances=disturbances(telemetry, sample)
        )
        if sample:
            memory_bytes = held_bytes(telemetry, sample)
            sample = msgspec.structs.replace(sample, memory_bytes=memory_bytes)
            outcome = Done(result=sample)
        on_measured(replace(measured, telemetry=telemetry, outcome=outcome))

    while rest:
        processes.append(_run_process(bench, rest, annotate, on_progress))
    return processes


def warmed_up(bench: Bench) -> WarmUp | None:
    """Bring the GPUs to their steady state; None without GPUs or without a limit."""
    if not bench.warm_up_limit_s:
        return None
    return warm_up(
        bench.program, bench.weights, bench.sweep, limit_s=bench.warm_up_limit_s
    )


def manual_command(bench: Bench, tests: Sequence[SpeedTest]) -> str:
    """Return the shell command that does what one of our processes does."""
    argv = llama_bench.argv(str(bench.program), bench.weights.name, bench.sweep, tests)
    return f"cd {shlex.quote(str(bench.weights.parent))} && {shlex.join(argv)}"


def _run_process(
    bench: Bench,
    rest: list[SpeedTest],
    on_measured: Callable[[MeasuredTest], None],
    on_progress: Callable[[str], None],
) -> shell.Ended:
    """Run one process; tests that it settles are removed from the front of `rest`."""
    argv = llama_bench.argv(str(bench.program), bench.weights.name, bench.sweep, rest)
    process = Process(
        id=uuid.uuid4().hex[:12],
        argv=(bench.program.name, *argv[1:]),
        started_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
    )
    planned = len(rest)
    with sampling() as sampler:

        def settle(outcome: Outcome) -> None:
            measured = MeasuredTest(
                test=rest.pop(0),
                outcome=outcome,
                process=process,
                telemetry=sampler.since_last_take(),
            )
            on_measured(measured)

        output = _Output(bench=bench, rest=rest, settle=settle, on_progress=on_progress)
        ended = shell.run(
            argv,
            cwd=bench.weights.parent,
            timeout_s=bench.sweep.timeout_s * planned,
            silence_s=bench.sweep.timeout_s,
            env=measured_environment(bench.sweep.env),
            log=bench.log.with_name(f"{bench.log.name}-{process.id}.log"),
            on_line=output.take,
        )
        if rest and (outcome := output.final_outcome(argv, ended, planned)):
            settle(outcome)
    return ended


@dataclass(kw_only=True, slots=True)
class _Output:
    """The output of one process, settled row by row; its end settles one test at most."""

    bench: Bench
    rest: list[SpeedTest]
    """Tests without an outcome; `settle` removes the first."""
    settle: Callable[[Outcome], None]
    on_progress: Callable[[str], None]
    steps: dict[int, str] = field(default_factory=dict)
    """The last progress of each test, from 1. Rows arrive on another pipe, unordered."""
    memory_lines: list[str] = field(default_factory=list)
    """Lines about memory: a backtrace may push them out of the last lines."""
    unexpected: list[str] = field(default_factory=list)
    """Rows of tests that were not requested."""
    last: Outcome | None = None
    """Outcome of the last test's row; it counts if the process then ends well."""

    def take(self, channel: shell.Channel, line: str) -> None:
        if channel is shell.Channel.OUT:
            if llama_bench.is_row(line) and self.rest:
                self._take_row(line)
        elif step := llama_bench.parse_progress(line):
            self.steps[llama_bench.progress_number(line)] = step
            self.on_progress(step)
        elif llama_bench.speaks_of_memory(line):
            self.memory_lines.append(line)

    def _take_row(self, line: str) -> None:
        test, outcome = _row_outcome(self.bench, line, self.rest)
        if test not in self.rest:
            self.unexpected.append(f"a row of {test.name}: {line[:_SHOWN_CHARACTERS]}")
            return
        while (skipped := self.rest[0]) != test:
            reason = f"no row of {skipped.name} came before that of {test.name}"
            self.settle(Invalid(reason=reason, tail=tuple(self.unexpected[-1:])))
        if len(self.rest) > 1:
            self.settle(outcome)
        else:
            self.last = self.last or outcome

    def final_outcome(
        self, argv: Sequence[str], ended: shell.Ended, planned: int
    ) -> Outcome | None:
        """Return the outcome of the next test; None if a new process should measure it."""
        if self.last and (ended.ok or ended.limit):
            return self.last
        if ended.ok and len(self.rest) < planned:
            return None
        if ended.ok and self.unexpected:
            return Invalid(
                reason=f"no row of {self.rest[0].name}, but of other tests",
                tail=tuple(self.unexpected[:5]),
            )
        step = self.steps.get(planned - len(self.rest) + 1, "")
        outcome = llama_bench.classify(ended, step=step)
        if isinstance(outcome, OutOfMemory | TimedOut):
            return outcome
        lines, tail = self.memory_lines, ended.tail
        if not lines and llama_bench.is_unexplained(ended):
            lines, tail = _memory_lines_of_rerun(self.bench, argv, self.rest[0])
        if not lines:
            return outcome
        return OutOfMemory(
            exit_code=ended.returncode,
            tail=(*lines[-5:], *tail),
            stage=llama_bench.stage_of(step),
        )


def _memory_lines_of_rerun(
    bench: Bench, argv: Sequence[str], test: SpeedTest
) -> tuple[list[str], tuple[str, ...]]:
    """Repeat a failed test with more output; return lines about memory and the tail."""
    lines: list[str] = []

    def take(_: shell.Channel, line: str) -> None:
        if llama_bench.speaks_of_memory(line):
            lines.append(line)

    ended = shell.run(
        llama_bench.explaining_argv(argv, test),
        cwd=bench.weights.parent,
        timeout_s=_EXPLAIN_TIMEOUT_S,
        env=measured_environment(bench.sweep.env),
        on_line=take,
    )
    return lines, ended.tail


def _row_outcome(
    bench: Bench, line: str, rest: Sequence[SpeedTest]
) -> tuple[SpeedTest, Outcome]:
    """Return the test that a row is of and its outcome, checked against the request."""
    shown = without_folders(line[:_SHOWN_CHARACTERS])
    try:
        sample = llama_bench.parse_row(
            line, warmup_repetitions=bench.sweep.warmup_repetitions
        )
    except ValueError as error:
        test = llama_bench.test_of(line) or rest[0]
        return test, Invalid(reason=f"unreadable row: {error}", tail=(shown,))
    if not bench.commit.startswith(sample.build_commit):
        raise MeasureError(
            f"{bench.program}: reports build {sample.build_commit}, not "
            f"{bench.commit[:9]}; remove its folder from the cache and build again"
        )
    mistakes = list(
        llama_bench.mistakes(
            sample, bench.sweep, weights=bench.weights.name, backend=bench.backend
        )
    )
    if mistakes:
        return sample.test, Invalid(reason="; ".join(mistakes), tail=(shown,))
    return sample.test, Done(result=sample)
