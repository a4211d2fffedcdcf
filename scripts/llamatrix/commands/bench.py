"""`invoke bench`: measure what cells and endpoints lack, each test on disk before the next."""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from llamatrix.commands.flags import MeasureFlags
from llamatrix.commands.pending import (
    CellStatus,
    Due,
    Pending,
    endpoint_status,
    load_pending,
    newest_reported,
    speed_status,
    still_due,
)
from llamatrix.commands.plan import plan_text
from llamatrix.config.cell import Cell
from llamatrix.config.context import Context
from llamatrix.config.endpoint_cell import EndpointCell
from llamatrix.config.matrix import Backend, Measurement
from llamatrix.engines.endpoint.client import Client, Reported, open_client
from llamatrix.engines.endpoint.speed import EndpointBench
from llamatrix.engines.outcome import Done, SpeedResult, reason_of
from llamatrix.engines.protocol import Bench, Installed
from llamatrix.engines.registry import ENGINE
from llamatrix.host import this_host
from llamatrix.measure.disturbances import (
    TOLERATED_PERCENT,
    KernelWatch,
    Load,
    Watch,
    disturbance,
)
from llamatrix.measure.speed import MeasuredTest, program_of, run_sweep, served_of
from llamatrix.measured_environment import process_conditions
from llamatrix.measuring import measuring
from llamatrix.progress import meter, say
from llamatrix.project import Project
from llamatrix.records import endpoint_record
from llamatrix.records.endpoint_record import ENDPOINT, EndpointRecord, endpoint_facts
from llamatrix.records.speed_record import SpeedRecord, cell_facts, kind_of
from llamatrix.records.store import Store, stamp
from llamatrix.report.speed import outcome_word
from llamatrix.units import duration_text

NOT_ALL_NUMBERS = 8
"""Exit code of a finished run in which some outcomes, old or new, are not numbers.

A model that fails its task is a result.
"""
_WARM_UP_S = 45.0
"""A large card takes half a minute from cold to its steady temperature."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tally:
    """What a run did, counted in tests."""

    reused: int
    measured: int
    without_number: int
    """Tests, old and new, whose outcome is not a number."""

    @property
    def summary(self) -> str:
        if not self.measured:
            words = f"nothing measured: all {self.reused} tests reused from records"
        else:
            words = f"{self.measured} tests measured, {self.reused} reused"
        if self.without_number:
            words += (
                f"; {self.without_number} failed (kept; `--retry` measures them again)"
            )
        return words


def bench(flags: MeasureFlags) -> int:
    """Measure the speed cells; return the exit code."""
    pending = load_pending(flags, kinds=[Measurement.SPEED, Measurement.SERVE_SPEED])
    if flags.dry_run:
        print(plan_text(pending))
        return 0
    tallies = measure_speeds(pending, flags)
    return NOT_ALL_NUMBERS if any(tally.without_number for tally in tallies) else 0


def measure_speeds(
    pending: Pending,
    flags: MeasureFlags,
    *,
    meanwhile: Mapping[str, Callable[[], None]] | None = None,
) -> list[Tally]:
    """Measure what speed cells and endpoints lack, and say what was done.

    `meanwhile` is what to do while a program is compiled, by its name.
    """
    tallies = []
    if pending.speed:
        tallies.append(measure(pending.speed, pending.context, meanwhile=meanwhile))
    if pending.endpoints:
        tallies.append(measure_endpoints(pending, flags))
    return tallies


def measure(
    statuses: Sequence[CellStatus[Cell]],
    context: Context,
    *,
    watch: Watch | None = None,
    meanwhile: Mapping[str, Callable[[], None]] | None = None,
) -> Tally:
    """Measure what the cells lack, and say what was done.

    A cell whose sweep has a target spread is repeated until it is reached, or
    `max_processes` have run. Cells of llama-bench come first, each as soon as its own
    program and weights are there: the server is compiled after their numbers. Cells of
    a server run without a pause between them, so that a card stays warm.
    """
    begin = time.monotonic()
    watch = watch or KernelWatch()
    project = context.project
    for status in statuses:
        if status.due:
            store = Store(reports=project.reports, kind=kind_of(status.cell))
            store.require_room(this_host().slug)
    measured = failed = 0
    warm = False
    parts: dict[str, Installed] = {}
    served = [status for status in statuses if status.cell.draft_key]
    for status in [*(one for one in statuses if one not in served), *served]:
        if status.due and status.cell.id not in parts:
            together = served if status in served else [status]
            parts |= {
                one.cell.id: install(one, context, meanwhile)
                for one in together
                if one.due
            }
        failed += status.reused_without_number
        pending = status
        store = Store(reports=project.reports, kind=kind_of(status.cell))
        while pending.due:
            made = measure_cell(
                pending, parts[status.cell.id], project, store, watch, warm=warm
            )
            warm = bool(status.cell.draft_key and made)
            measured += len(made)
            failed += sum(not isinstance(result.outcome, Done) for result in made)
            if status.cell.sweep.target_spread is None:
                break
            pending = speed_status(status.cell, store)
    tally = Tally(
        reused=sum(status.reused for status in statuses),
        measured=measured,
        without_number=failed,
    )
    say(f"{tally.summary} ({duration_text(time.monotonic() - begin)})")
    return tally


def install(
    status: CellStatus[Cell],
    context: Context,
    meanwhile: Mapping[str, Callable[[], None]] | None = None,
) -> Installed:
    return ENGINE.install(
        status.cell,
        context.project.cache,
        weights_dir=context.weights_dir,
        program=status.cell.program,
        meanwhile=(meanwhile or {}).get(status.cell.program),
    )


def measure_cell(
    status: CellStatus[Cell],
    parts: Installed,
    project: Project,
    store: Store[SpeedRecord],
    watch: Watch,
    *,
    warm: bool,
) -> list[MeasuredTest]:
    """Run the repeats that are due; one harness measures at a time.

    A server that follows another server needs no warm-up of the card: its own first
    requests, which are no samples, are enough.
    """
    kept: list[MeasuredTest] = []
    bench = bench_of(status.cell, parts, project)
    for due in status.due:
        with measuring():
            tests = still_due(status, due, store)
            if not tests:
                continue
            label = f"{status.cell.id} #{due.number}"
            say(f"measuring {label}: {', '.join(test.name for test in tests)}")
            with meter(label, total=len(tests)) as progress:
                mark, load = watch.mark(), None

                def keep(
                    measured: MeasuredTest, due: Due = due, label: str = label
                ) -> None:
                    nonlocal mark, load
                    if not load or not (status.cell.draft_key and measured.test.n_gen):
                        load = watch.since(mark)  # one request has prompt and answer
                    record = _record(
                        status, parts, measured, repeat=due.number, load=load
                    )
                    if record.disturbed:
                        say(
                            f"{label} {measured.test.name}: disturbed: {record.disturbed}"
                        )
                    if not isinstance(measured.outcome, Done):
                        what = f"{outcome_word(measured.outcome)}: {reason_of(measured.outcome)}"
                        say(f"{label} {measured.test.name}: {what}")
                    store.append(record)
                    kept.append(measured)
                    progress.advance()
                    mark = watch.mark()

                run_sweep(
                    replace(bench, warm_up_limit_s=0.0) if warm else bench,
                    tests,
                    on_measured=keep,
                    on_progress=lambda step: progress.reach(progress.done, note=step),
                )
                warm = bool(status.cell.draft_key)
    return kept


def bench_of(cell: Cell, parts: Installed, project: Project) -> Bench:
    return Bench(
        program=program_of(cell, parts),
        served=served_of(cell, parts),
        batched=cell.batched,
        weights=parts.weights.path,
        commit=cell.locked.reported_commit,
        fork=cell.locked.fork,
        sweep=cell.sweep,
        backend=cell.build.backend,
        log=project.logs / cell.id.replace("/", "-"),
        warm_up_limit_s=_WARM_UP_S if cell.build.backend is Backend.CUDA else 0.0,
    )


def _record(
    status: CellStatus[Cell],
    parts: Installed,
    measured: MeasuredTest,
    *,
    repeat: int,
    load: Load,
) -> SpeedRecord:
    return SpeedRecord(
        cell=cell_facts(status.cell, digest=status.digest),
        test=measured.test,
        repeat=repeat,
        outcome=measured.outcome,
        process=measured.process,
        locked=status.cell.locked,
        build=parts.built.manifest,
        weights=parts.weights.facts,
        **stamp(),
        same_environment=process_conditions(),
        telemetry=measured.telemetry,
        load=load,
        disturbed=disturbance(
            load, measured.telemetry, tolerated_percent=TOLERATED_PERCENT
        ),
        environment=status.cell.sweep.env,
    )


def measure_endpoints(pending: Pending, flags: MeasureFlags) -> Tally:
    """Measure what the endpoints' cells lack, and say what was done."""
    store = Store(reports=pending.context.project.reports, kind=ENDPOINT)
    store.require_room(this_host().slug)
    reused = measured = without_number = 0
    for planned in pending.endpoints:
        cell = planned.cell
        with measuring(), open_client(cell.endpoint, os.environ) as client:
            reported = _identify(client, cell) or newest_reported(cell, store)
            status = endpoint_status(
                cell, store, reported=reported, again=flags.again, retry=flags.retry
            )
            reused += status.reused
            without_number += status.reused_without_number
            for due in status.due:
                results = _measure_endpoint(client, status, due, reported, store)
                measured += len(results)
                without_number += sum(
                    not isinstance(one.outcome, Done) for one in results
                )
    tally = Tally(reused=reused, measured=measured, without_number=without_number)
    say(f"endpoints: {tally.summary}")
    return tally


def _identify(client: Client, cell: EndpointCell) -> Reported | None:
    """What the server reports; None where it does not answer, as each test then says."""
    if not cell.endpoint.loopback:
        say(f"{cell.id}: not on this machine; prompts of common words are sent there")
    reported = client.introduce(timeout_s=cell.sweep.timeout_s)
    return reported if isinstance(reported, Reported) else None


def _measure_endpoint(
    client: Client,
    status: CellStatus[EndpointCell],
    due: Due,
    reported: Reported,
    store: Store[EndpointRecord],
) -> list[SpeedResult]:
    cell, label = status.cell, f"{status.cell.id} #{due.number}"
    results: list[SpeedResult] = []
    say(f"measuring {label}: {', '.join(test.name for test in due.tests)}")
    with meter(label, total=len(due.tests)) as progress:

        def keep(result: SpeedResult) -> None:
            if not isinstance(result.outcome, Done):
                what = f"{outcome_word(result.outcome)}: {reason_of(result.outcome)}"
                say(f"{label} {result.test.name}: {what}")
            store.append(
                EndpointRecord(
                    cell=endpoint_facts(cell, digest=status.digest),
                    reported=reported,
                    test=result.test,
                    repeat=due.number,
                    outcome=result.outcome,
                    process=result.process,
                    engine=endpoint_record.ENGINE,
                    **stamp(),
                )
            )
            results.append(result)
            progress.advance()

        EndpointBench(
            client=client,
            repetitions=cell.sweep.repetitions,
            timeout_s=cell.sweep.timeout_s,
            on_progress=lambda step: progress.reach(progress.done, note=step),
        ).run(due.tests, keep)
    return results
