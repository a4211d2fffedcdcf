"""The conductor: plan → provision → measure → record, skipping what is done."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from llamatrix import __version__
from llamatrix.commands.agenda import Item, look_up, still_missing
from llamatrix.commands.session import Session
from llamatrix.config.cell import Cell, Engine
from llamatrix.config.matrix import Backend
from llamatrix.engines.outcome import Done, reason_of
from llamatrix.engines.protocol import Bench
from llamatrix.exclusive import exclusive
from llamatrix.host import this_host
from llamatrix.measure.disturbances import (
    TOLERATED_PERCENT,
    KernelWatch,
    Load,
    Watch,
    disturbance,
)
from llamatrix.measure.speed import MeasuredTest, run_sweep
from llamatrix.progress import meter, say
from llamatrix.project import Project
from llamatrix.provision.build import Built, provide_build
from llamatrix.provision.hardware import require_device
from llamatrix.provision.weights.provide import Weights, provide_weights
from llamatrix.records.speed_record import SPEED, Record, cell_facts
from llamatrix.records.store import Store
from llamatrix.report.speed import outcome_word
from llamatrix.units import duration_text

_WARM_UP_S = 45.0
"""A large card takes half a minute from cold to its steady temperature."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tally:
    """What a run did, counted in tests."""

    reused: int
    measured: int
    failed: int
    """Tests, old and new, whose outcome is not a number."""

    @property
    def without_number(self) -> int:
        return self.failed

    @property
    def summary(self) -> str:
        if not self.measured:
            words = f"nothing measured: all {self.reused} tests reused from records"
        else:
            words = f"{self.measured} tests measured, {self.reused} reused"
        if self.failed:
            words += f"; {self.failed} failed (kept; `--retry` measures them again)"
        return words


@dataclass(frozen=True, kw_only=True, slots=True)
class Parts:
    """What a cell is measured with."""

    built: Built
    weights: Weights


def provide_builds(session: Session) -> None:
    for cell in {_build_of(cell): cell for cell in session.engines}.values():
        built = provide_build(cell, session.project.cache)
        say(f"build {_build_of(cell)}: {built.folder}")


def _build_of(cell: Engine) -> str:
    return f"{cell.pin_key}/{cell.build_key}"


def provide_all_weights(session: Session) -> None:
    for cell in {cell.weights_key: cell for cell in session.engines}.values():
        weights = provide_weights(
            cell, session.project.cache, weights_dir=session.weights_dir
        )
        say(f"weights {cell.weights_key}: {weights.path}")


def bench_session(session: Session) -> Tally:
    """Measure what a session's cells lack, and say what was done."""
    begin = time.monotonic()
    tally = bench(session.items, session.project, weights_dir=session.weights_dir)
    say(f"{tally.summary} ({duration_text(time.monotonic() - begin)})")
    return tally


def provide_parts(
    cell: Cell, project: Project, *, weights_dir: Path | None = None
) -> Parts:
    require_device(cell.build_key, cell.build)
    return Parts(
        built=provide_build(cell, project.cache),
        weights=provide_weights(cell, project.cache, weights_dir=weights_dir),
    )


def bench(
    items: Sequence[Item],
    project: Project,
    *,
    weights_dir: Path | None = None,
    watch: Watch | None = None,
) -> Tally:
    """Measure what the items lack; every finished test is on disk before the next.

    A cell whose sweep has a target spread is repeated until it is reached, or the most
    processes have run.
    """
    watch = watch or KernelWatch()
    store = Store(reports=project.reports, kind=SPEED)
    if any(item.todo for item in items):
        store.require_room(this_host().slug)
    parts = {
        item.cell.id: provide_parts(item.cell, project, weights_dir=weights_dir)
        for item in items
        if item.todo
    }
    measured = failed = 0
    for item in items:
        failed += item.failures_kept
        pending = item
        while pending.todo:
            outcomes = _measure(pending, parts[item.cell.id], project, store, watch)
            measured += len(outcomes)
            failed += sum(not isinstance(one.outcome, Done) for one in outcomes)
            if item.cell.sweep.target_spread is None:
                break
            pending = look_up(item.cell, store)
    return Tally(
        reused=sum(item.done for item in items), measured=measured, failed=failed
    )


def _measure(
    item: Item, parts: Parts, project: Project, store: Store[Record], watch: Watch
) -> list[MeasuredTest]:
    """Run the repeats of one cell that are missing; one harness measures at a time."""
    kept: list[MeasuredTest] = []
    for repeat in item.todo:
        with exclusive(project.cache / "measuring.lock", purpose="measuring"):
            tests = still_missing(item, repeat, store)
            if not tests:
                continue
            label = f"{item.cell.id} #{repeat.number}"
            say(f"measuring {label}: {', '.join(test.name for test in tests)}")
            with meter(label, total=len(tests)) as progress:
                mark = watch.mark()

                def keep(
                    one: MeasuredTest, number: int = repeat.number, label: str = label
                ) -> None:
                    nonlocal mark
                    load = watch.since(mark)
                    record = _record(item, parts, one, repeat=number, load=load)
                    if record.disturbed:
                        say(f"{label} {one.test.name}: disturbed: {record.disturbed}")
                    if not isinstance(one.outcome, Done):
                        what = f"{outcome_word(one.outcome)}: {reason_of(one.outcome)}"
                        say(f"{label} {one.test.name}: {what}")
                    store.append(record)
                    kept.append(one)
                    progress.advance()
                    mark = watch.mark()

                run_sweep(
                    bench_of(item.cell, parts, project),
                    tests,
                    on_measured=keep,
                    on_progress=lambda step: progress.reach(progress.done, note=step),
                )
    return kept


def bench_of(cell: Cell, parts: Parts, project: Project) -> Bench:
    return Bench(
        program=parts.built.program("llama-bench"),
        weights=parts.weights.path,
        commit=cell.locked.commit,
        sweep=cell.sweep,
        backend=cell.build.backend,
        log=project.logs / cell.id.replace("/", "-"),
        warm_up_limit_s=_WARM_UP_S if cell.build.backend is Backend.CUDA else 0.0,
    )


def _record(
    item: Item, parts: Parts, one: MeasuredTest, *, repeat: int, load: Load
) -> Record:
    return Record(
        cell=cell_facts(item.cell, digest=item.digest),
        test=one.test,
        repeat=repeat,
        outcome=one.outcome,
        measured_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
        process=one.process,
        locked=item.cell.locked,
        build=parts.built.manifest,
        weights=parts.weights.facts,
        host=this_host(),
        telemetry=one.telemetry,
        load=load,
        disturbed=disturbance(load, one.telemetry, tolerated_percent=TOLERATED_PERCENT),
        environment=item.cell.sweep.env,
        made_by=f"llamatrix {__version__}",
    )
