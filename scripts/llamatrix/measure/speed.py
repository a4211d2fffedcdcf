"""Runs a sweep on an engine: results as they come, each with its telemetry."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from llamatrix import shell
from llamatrix.config.cell import Cell, SpeedTest
from llamatrix.engines.outcome import Done, Outcome, Process, SpeedResult
from llamatrix.engines.protocol import Bench, Installed, Served
from llamatrix.engines.registry import ENGINE
from llamatrix.measure.disturbances import disturbances
from llamatrix.measure.telemetry import Sampler, Telemetry, WarmUp, held_bytes, sampling
from llamatrix.measure.warm_up import warm_up


@dataclass(frozen=True, kw_only=True, slots=True)
class MeasuredTest:
    test: SpeedTest
    outcome: Outcome
    process: Process
    telemetry: Telemetry


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
        with sampling() as sampler:

            def keep(result: SpeedResult, sampler: Sampler = sampler) -> None:
                annotate(
                    MeasuredTest(
                        test=result.test,
                        outcome=result.outcome,
                        process=result.process,
                        telemetry=sampler.since_last_take(),
                    )
                )

            ended, rest = ENGINE.bench(
                bench, rest, on_result=keep, on_progress=on_progress
            )
        processes.append(ended)
    return processes


def program_of(cell: Cell, parts: Installed) -> Path:
    return parts.built.program(cell.program)


def served_of(cell: Cell, parts: Installed) -> Served | None:
    """What the server of a cell is started with; None for a benchmark of the engine."""
    if not cell.draft_key or cell.batched:
        return None
    return Served(
        alias=cell.model_key,
        model=cell.model,
        draft=cell.draft,
        draft_weights=parts.draft_weights,
    )


def warmed_up(bench: Bench) -> WarmUp | None:
    """Bring the GPUs to their steady state; None without GPUs or without a limit."""
    if not bench.warm_up_limit_s:
        return None
    return warm_up(bench, limit_s=bench.warm_up_limit_s)
