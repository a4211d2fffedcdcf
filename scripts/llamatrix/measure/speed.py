"""A sweep of llama-bench: fresh process, rows as they stream, failures as data.

llama-bench ends at the first test that fails. The sizes after it are then tried in a
process of their own, so that one size too large costs one size.
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
_SHOWN = 500


class Process(msgspec.Struct, frozen=True, kw_only=True):
    """The llama-bench process that a row came from."""

    id: str
    argv: tuple[str, ...]
    """As started, in the folder of the weights."""
    started_at: str
    """UTC, ISO 8601."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MeasuredTest:
    """One test of a sweep, and what came of it."""

    test: SpeedTest
    outcome: Outcome
    process: Process
    telemetry: Telemetry


@dataclass(frozen=True, kw_only=True, slots=True)
class Bench:
    """What a sweep is run with."""

    program: Path
    weights: Path
    commit: str
    """The commit that the program must name in its rows."""
    sweep: Sweep
    log: Path
    backend: Backend | None = None
    """What it was built for; rows must have been computed there."""
    warm_up_limit_s: float = 0.0
    """How long GPUs may take to come to their steady state; 0 does not wait."""


def run_sweep(
    bench: Bench,
    tests: Sequence[SpeedTest],
    *,
    on_measured: Callable[[MeasuredTest], None],
    on_progress: Callable[[str], None] = lambda _: None,
) -> list[shell.Ended]:
    """Measure the tests in order; each is handed over the moment it is known.

    Returns how each process ended, for those who account for time.
    """
    rest = list(tests)
    processes: list[shell.Ended] = []
    warmed = warmed_up(bench) if rest else None

    def measured(one: MeasuredTest) -> None:
        on_measured(_annotated(one, warmed))

    while rest:
        processes.append(_run_process(bench, rest, measured, on_progress))
    return processes


def warmed_up(bench: Bench) -> WarmUp | None:
    """Bring the GPUs to their steady state; None without any, or where not asked."""
    if not bench.warm_up_limit_s:
        return None
    return warm_up(
        bench.program, bench.weights, bench.sweep, limit_s=bench.warm_up_limit_s
    )


def _annotated(one: MeasuredTest, warmed: WarmUp | None) -> MeasuredTest:
    """The test with what its telemetry says of memory and of disturbances."""
    sample = one.outcome.result if isinstance(one.outcome, Done) else None
    telemetry = msgspec.structs.replace(
        one.telemetry, warm_up=warmed, disturbances=disturbances(one.telemetry, sample)
    )
    if not sample:
        return replace(one, telemetry=telemetry)
    held = held_bytes(telemetry, sample)
    result = msgspec.structs.replace(sample, memory_bytes=held)
    return replace(one, telemetry=telemetry, outcome=Done(result=result))


def manual_command(bench: Bench, tests: Sequence[SpeedTest]) -> str:
    """The command line that does by hand what one process of ours does."""
    argv = llama_bench.argv(str(bench.program), bench.weights.name, bench.sweep, tests)
    return f"cd {shlex.quote(str(bench.weights.parent))} && {shlex.join(argv)}"


def _run_process(
    bench: Bench,
    rest: list[SpeedTest],
    on_measured: Callable[[MeasuredTest], None],
    on_progress: Callable[[str], None],
) -> shell.Ended:
    """Run one process; takes what it settled off the front of `rest`."""
    argv = llama_bench.argv(str(bench.program), bench.weights.name, bench.sweep, rest)
    process = Process(
        id=uuid.uuid4().hex[:12],
        argv=(bench.program.name, *argv[1:]),
        started_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
    )
    asked = len(rest)
    with sampling() as sampler:

        def settle(outcome: Outcome) -> None:
            measured = MeasuredTest(
                test=rest.pop(0),
                outcome=outcome,
                process=process,
                telemetry=sampler.since_last_take(),
            )
            on_measured(measured)

        heard = _Heard(bench=bench, rest=rest, settle=settle, on_progress=on_progress)
        ended = shell.run(
            argv,
            cwd=bench.weights.parent,
            timeout_s=bench.sweep.timeout_s * asked,
            silence_s=bench.sweep.timeout_s,
            env=measured_environment(bench.sweep.env),
            log=bench.log.with_name(f"{bench.log.name}-{process.id}.log"),
            on_line=heard.take,
        )
        if rest and (outcome := heard.outcome_at_the_end(argv, ended, asked)):
            settle(outcome)
    return ended


@dataclass(kw_only=True, slots=True)
class _Heard:
    """What a process prints, settled row by row; its end settles one test at most."""

    bench: Bench
    rest: list[SpeedTest]
    """What has no outcome yet; `settle` takes the first away."""
    settle: Callable[[Outcome], None]
    on_progress: Callable[[str], None]
    steps: dict[int, str] = field(default_factory=dict)
    """The last progress of each test, from 1; rows come by another pipe, in no order."""
    of_memory: list[str] = field(default_factory=list)
    """A backtrace may push these out of the last lines."""
    strange: list[str] = field(default_factory=list)
    """Rows of tests that were not asked for."""
    last: Outcome | None = None
    """What the row of the last test tells; it counts where the process ends well."""

    def take(self, channel: shell.Channel, line: str) -> None:
        if channel is shell.Channel.OUT:
            if llama_bench.is_row(line) and self.rest:
                self._take_row(line)
        elif step := llama_bench.parse_progress(line):
            self.steps[llama_bench.progress_number(line)] = step
            self.on_progress(step)
        elif llama_bench.speaks_of_memory(line):
            self.of_memory.append(line)

    def _take_row(self, line: str) -> None:
        test, outcome = _result(self.bench, line, self.rest)
        if test not in self.rest:
            self.strange.append(f"a row of {test.name}: {line[:_SHOWN]}")
            return
        while (skipped := self.rest[0]) != test:
            reason = f"no row of {skipped.name} came before that of {test.name}"
            self.settle(Invalid(reason=reason, tail=tuple(self.strange[-1:])))
        if len(self.rest) > 1:
            self.settle(outcome)
        else:
            self.last = self.last or outcome

    def outcome_at_the_end(
        self, argv: Sequence[str], ended: shell.Ended, asked: int
    ) -> Outcome | None:
        """That of the next test; None where a new process should measure it."""
        if self.last and (ended.ok or ended.limit):
            return self.last
        if ended.ok and len(self.rest) < asked:
            return None
        if ended.ok and self.strange:
            return Invalid(
                reason=f"no row of {self.rest[0].name}, but of other tests",
                tail=tuple(self.strange[:5]),
            )
        step = self.steps.get(asked - len(self.rest) + 1, "")
        outcome = llama_bench.classify(ended, step=step)
        return _explained(
            self.bench,
            argv,
            ended,
            outcome,
            test=self.rest[0],
            of_memory=self.of_memory,
            step=step,
        )


def _explained(
    bench: Bench,
    argv: Sequence[str],
    ended: shell.Ended,
    outcome: Outcome,
    *,
    test: SpeedTest,
    of_memory: Sequence[str],
    step: str,
) -> Outcome:
    """What stopped the process, asked a second time where it kept that to itself."""
    if isinstance(outcome, OutOfMemory | TimedOut):
        return outcome
    if of_memory:
        return _refused(ended, of_memory, ended.tail, step)
    if not llama_bench.is_unexplained(ended):
        return outcome
    said: list[str] = []

    def take(_: shell.Channel, line: str) -> None:
        if llama_bench.speaks_of_memory(line):
            said.append(line)

    again = shell.run(
        llama_bench.explaining_argv(argv, test),
        cwd=bench.weights.parent,
        timeout_s=_EXPLAIN_TIMEOUT_S,
        env=measured_environment(bench.sweep.env),
        on_line=take,
    )
    return _refused(ended, said, again.tail, step) if said else outcome


def _refused(
    ended: shell.Ended, said: Sequence[str], tail: Sequence[str], step: str
) -> OutOfMemory:
    return OutOfMemory(
        exit_code=ended.returncode,
        tail=(*said[-5:], *tail),
        stage=llama_bench.stage_of(step),
    )


def _result(
    bench: Bench, line: str, rest: Sequence[SpeedTest]
) -> tuple[SpeedTest, Outcome]:
    """The test a row is of and its outcome, checked against what was asked."""
    shown = without_folders(line[:_SHOWN])
    try:
        sample = llama_bench.parse_row(
            line, warmup_repetitions=bench.sweep.warmup_repetitions
        )
    except ValueError as error:
        test = llama_bench.test_of(line) or rest[0]
        return test, Invalid(reason=f"unreadable row: {error}", tail=(shown,))
    if not bench.commit.startswith(sample.build_commit):
        raise MeasureError(
            f"{bench.program}: says it is build {sample.build_commit}, not "
            f"{bench.commit[:9]}; remove its folder from the cache and build again"
        )
    wrong = list(
        llama_bench.mistakes(
            sample, bench.sweep, weights=bench.weights.name, backend=bench.backend
        )
    )
    if wrong:
        return sample.test, Invalid(reason="; ".join(wrong), tail=(shown,))
    return sample.test, Done(result=sample)
