"""llama.cpp as an engine: llama-bench's processes, llama-server's start.

llama-bench ends at the first test that fails. The remaining tests then run in a new
process, so that one size that is too large costs one size.
"""

import os
import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile

import msgspec

from llamatrix import shell
from llamatrix.config.cell import Cell, EngineCell, SpeedTest
from llamatrix.engines.llama_cpp import llama_bench
from llamatrix.engines.llama_cpp.batched_bench import measure_batched
from llamatrix.engines.llama_cpp.served_speed import (
    launch_for,
    measure_served,
    start_outcome,
)
from llamatrix.engines.llama_cpp.server import Serving, running, serve_in_foreground
from llamatrix.engines.outcome import (
    Done,
    Invalid,
    Outcome,
    OutOfMemory,
    Process,
    SpeedResult,
    TimedOut,
)
from llamatrix.engines.protocol import BareRun, Bench, Installed, Launch, Timeouts
from llamatrix.errors import MeasureError
from llamatrix.measured_environment import measured_environment
from llamatrix.provision.build import provide_build
from llamatrix.provision.hardware import require_device
from llamatrix.provision.weights.provide import provide_weights
from llamatrix.redaction import without_folders

_EXPLAIN_TIMEOUT_S = 300
_SHOWN_CHARACTERS = 500
_STDERR_BYTES = 4096
"""llama-bench announces its first repetition within these."""
_WARM_UP_TEST = SpeedTest(n_prompt=2048, n_gen=0)
_ENDLESS = 100_000


class LlamaCpp:
    def install(
        self,
        cell: EngineCell,
        cache: Path,
        *,
        weights_dir: Path | None = None,
        program: str = "",
        meanwhile: Callable[[], None] | None = None,
    ) -> Installed:
        require_device(cell.build_key, cell.build)
        provided = partial(provide_weights, cache=cache, weights_dir=weights_dir)
        draft = cell.draft_engine if isinstance(cell, Cell) else None
        return Installed(
            built=provide_build(cell, cache, program=program, meanwhile=meanwhile),
            weights=provided(cell),
            draft_weights=provided(draft).path if draft else None,
        )

    def bench(
        self,
        bench: Bench,
        tests: Sequence[SpeedTest],
        *,
        on_result: Callable[[SpeedResult], None],
        on_progress: Callable[[str], None],
    ) -> tuple[shell.Ended, list[SpeedTest]]:
        if bench.served or bench.batched:
            together = [
                test for test in tests if test.concurrency == tests[0].concurrency
            ]
            ended = (
                measure_served(
                    bench,
                    bench.served,
                    together,
                    on_result=on_result,
                    on_progress=on_progress,
                )
                if bench.served
                else measure_batched(
                    bench, together, on_result=on_result, on_progress=on_progress
                )
            )
            return ended, [test for test in tests if test not in together]
        first = llama_bench.one_process(tests)
        argv = _argv(bench, first)
        process = Process.started((bench.program.name, *argv[1:]))
        rest = list(first)

        def settle(outcome: Outcome) -> None:
            on_result(SpeedResult(test=rest.pop(0), outcome=outcome, process=process))

        output = _Output(bench=bench, rest=rest, settle=settle, on_progress=on_progress)
        ended = shell.run(
            argv,
            cwd=bench.weights.parent,
            timeout_s=bench.sweep.timeout_s * len(first),
            silence_s=bench.sweep.timeout_s,
            env=measured_environment(bench.sweep.env),
            log=bench.log.with_name(f"{bench.log.name}-{process.id}.log"),
            on_line=output.take,
        )
        if rest and (outcome := output.final_outcome(argv, ended, len(first))):
            settle(outcome)
        return ended, [*rest, *tests[len(first) :]]

    @contextmanager
    def keep_busy(self, bench: Bench) -> Iterator[Callable[[], bool | None]]:
        endless = msgspec.structs.replace(bench.sweep, repetitions=_ENDLESS)
        program = bench.program.with_name("llama-bench")
        warming = replace(bench, program=program, sweep=endless)
        with (
            Path(os.devnull).open("wb") as discarded,
            TemporaryFile() as stderr,
            shell.started(
                _argv(warming, [_WARM_UP_TEST]),
                env=measured_environment(bench.sweep.env),
                cwd=bench.weights.parent,
                out=discarded,
                err=stderr,
            ) as process,
        ):

            def is_busy() -> bool | None:
                if process.poll() is not None:
                    return None
                started = os.pread(stderr.fileno(), _STDERR_BYTES, 0)
                return bool(bench.fork) or b": prompt run" in started

            yield is_busy

    launch_for = staticmethod(launch_for)
    start_outcome = staticmethod(start_outcome)
    serve_in_foreground = staticmethod(serve_in_foreground)

    def manual_command(self, bench: Bench, tests: Sequence[SpeedTest]) -> str:
        """Return the shell command that does what one process of `bench` does."""
        argv = _argv(bench, tests)
        return f"cd {shlex.quote(str(bench.weights.parent))} && {shlex.join(argv)}"

    def run_bare(
        self, bench: Bench, tests: Sequence[SpeedTest], *, out: Path, timeout_s: float
    ) -> BareRun:
        """Start the command of `bench` bare: output into files, nothing sampled meanwhile."""
        argv = _argv(bench, tests)
        out.parent.mkdir(parents=True, exist_ok=True)
        env = measured_environment(bench.sweep.env)
        begin = time.monotonic()
        with (
            out.open("wb") as sink,
            out.with_suffix(".log").open("wb") as errors,
            shell.started(
                argv, env=env, cwd=bench.weights.parent, out=sink, err=errors
            ) as process,
        ):
            exit_code = process.wait(timeout=timeout_s)
        wall_s = time.monotonic() - begin
        samples = []
        lines = out.read_text(errors="replace").splitlines()
        if bench.fork:
            rows = llama_bench.JsonRows()
            errors_text = out.with_suffix(".log").read_text(errors="replace")
            lines = [rows.feed(line) for line in errors_text.splitlines()]
        for line in lines:
            if llama_bench.is_row(line):
                with suppress(ValueError):
                    samples.append(llama_bench.parse_row(line))
        return BareRun(
            argv=(bench.program.name, *argv[1:]),
            exit_code=exit_code,
            wall_s=wall_s,
            samples=tuple(samples),
        )

    def serve(
        self, launch: Launch, *, log: Path, timeouts: Timeouts | None = None
    ) -> AbstractContextManager[Serving]:
        return running(launch, log=log, timeouts=timeouts)


def _argv(bench: Bench, tests: Sequence[SpeedTest]) -> list[str]:
    return llama_bench.argv(
        str(bench.program), bench.weights.name, bench.sweep, tests, fork=bench.fork
    )


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
    json_rows: llama_bench.JsonRows = field(default_factory=llama_bench.JsonRows)
    """Those of a fork, which writes them over several lines of standard error."""
    last: Outcome | None = None
    """Outcome of the last test's row; it counts if the process then ends well."""

    def take(self, channel: shell.Channel, line: str) -> None:
        if self.bench.fork:
            if channel is shell.Channel.ERR and (row := self.json_rows.feed(line)):
                line = row
            elif llama_bench.is_about_memory(line):
                self.memory_lines.append(line)
                return
            else:
                return
        if channel is shell.Channel.OUT or self.bench.fork:
            if llama_bench.is_row(line) and self.rest:
                self._take_row(line)
        elif step := llama_bench.parse_progress(line):
            self.steps[llama_bench.progress_number(line)] = step
            self.on_progress(step)
        elif llama_bench.is_about_memory(line):
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
        if llama_bench.is_about_memory(line):
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
    if bench.commit and not bench.commit.startswith(sample.build_commit):
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
