"""llama-bench by hand and through llamatrix in turn, on any cell; resumable.

Both are recorded: `invoke table` shows their ratio beside the cell's speeds.
"""

import time
import uuid
from collections.abc import Sequence
from dataclasses import replace

from llamatrix.clock import utc_now
from llamatrix.commands.bench import bench_of, measure
from llamatrix.commands.flags import BenchSelfFlags, parsed
from llamatrix.commands.pending import CellStatus, Pending, find_pending, speed_status
from llamatrix.config.cell import Cell, SpeedTest
from llamatrix.config.context import Context, load_context
from llamatrix.config.matrix import Backend, WeightsKind
from llamatrix.engines.protocol import Bench, Installed
from llamatrix.engines.registry import ENGINE
from llamatrix.errors import MeasureError
from llamatrix.host import this_host
from llamatrix.measure.speed import warmed_up
from llamatrix.measuring import measuring
from llamatrix.nvml import gpus
from llamatrix.progress import say
from llamatrix.project import Project
from llamatrix.provision.compiler import require_compiler
from llamatrix.provision.weights.fit import MemorySettings, known_shape, memory_need
from llamatrix.provision.weights.synthetic.models import Scale
from llamatrix.records.hand_run import BY_HAND, HandRun
from llamatrix.records.speed_record import SPEED
from llamatrix.records.store import Store, stamp
from llamatrix.units import bytes_text, duration_text, parse_duration_s


def measure_by_hand_too(flags: BenchSelfFlags) -> Pending:
    """Measure one model of a profile by hand and through llamatrix, in pairs.

    Builds and weights are provided first. No process is started that would end after
    the budget.
    """
    budget_s = parsed("--budget:", flags.budget, parse_duration_s)
    deadline = time.monotonic() + budget_s
    pending = find_pending(
        load_context(flags.profile, weights_dir=flags.weights_dir),
        f"speed/{flags.model}[./]*",
        ask_hub=True,
    )
    context, item = pending.context, pending.speed[0]
    if item.cell.build.backend is Backend.CUDA:
        _ensure_card(item)
    by_hand = {run.repeat for run in _hand_runs(item, context.project)}
    if item.due or len(by_hand) < item.cell.sweep.processes:
        parts = ENGINE.install(
            item.cell, context.project.cache, weights_dir=context.weights_dir
        )
        _measure(item, parts, context, deadline)
        if item.cell.weights is WeightsKind.FULL:
            size = bytes_text(parts.weights.facts.file_bytes)
            say(f"the synthetic weights stay: {size} in {parts.weights.path.parent}")
    return pending


def _ensure_card(item: CellStatus[Cell]) -> None:
    """Stop before anything is written where compiler, card or memory is missing."""
    require_compiler(Backend.CUDA)
    cards = gpus()
    if not cards:
        raise MeasureError(
            "nvcc is here, but NVIDIA's library shows no card: nothing to measure; "
            "`nvidia-smi` should list one"
        )
    sweep = item.cell.sweep
    largest = max(*sweep.n_prompt, *sweep.n_gen) + max(sweep.n_depth)
    # Synthetic weights have the size of the published ones.
    tiny = item.cell.weights is WeightsKind.TINY
    needed = memory_need(
        known_shape(item.cell.model_key, Scale.TINY if tiny else Scale.FULL),
        MemorySettings(
            cache_type_k=sweep.cache_type_k,
            cache_type_v=sweep.cache_type_v,
            ubatch_size=sweep.ubatch_size,
        ),
        context_tokens=largest,
    ).total
    card = max(cards, key=lambda card: card.memory_bytes)
    if needed > card.memory_bytes:
        raise MeasureError(
            f"{item.cell.model.name} at {largest} tokens needs {bytes_text(needed)} by "
            f"prediction, {card.name} has {bytes_text(card.memory_bytes)}; `invoke fit "
            "--vram` shows what fits"
        )
    say(f"{card.name}: {bytes_text(needed)} of {bytes_text(card.memory_bytes)} needed")


def _measure(
    item: CellStatus[Cell], parts: Installed, context: Context, deadline: float
) -> None:
    """Run pairs of processes, whose order alternates from pair to pair."""
    longest_s = 0.0
    for number in range(1, item.cell.sweep.processes + 1):
        arms = [_hand, _ours]
        for arm in arms if number % 2 else reversed(arms):
            begin = time.monotonic()
            if begin + longest_s > deadline:
                say(
                    f"stopping: the next process takes {duration_text(longest_s)}, more "
                    "than the budget has left; run the same command again to continue"
                )
                return
            if arm(item, parts, context, number):
                longest_s = max(longest_s, time.monotonic() - begin)


def _hand(
    item: CellStatus[Cell], parts: Installed, context: Context, number: int
) -> bool:
    """Return whether anything was left to do."""
    project = context.project
    if any(run.repeat == number for run in _hand_runs(item, project)):
        return False
    here = bench_of(item.cell, parts, project)
    with measuring():
        say(f"by hand #{number}: llama-bench, {len(item.cell.tests)} tests")
        warmed_up(here)
        run = _run_by_hand(item, here, item.cell.tests, repeat=number)
    Store(reports=project.reports, kind=BY_HAND).append(run)
    if run.exit_code:
        raise MeasureError(
            f"llama-bench by hand ended with exit code {run.exit_code} after "
            f"{len(run.samples)} rows; its output is in {here.log.parent}"
        )
    return True


def _ours(
    item: CellStatus[Cell], _parts: Installed, context: Context, number: int
) -> bool:
    store = Store(reports=context.project.reports, kind=SPEED)
    due = [
        due_test
        for due_test in speed_status(item.cell, store).due
        if due_test.number == number
    ]
    if due:
        measure([replace(item, due=tuple(due))], context)
    return bool(due)


def _hand_runs(item: CellStatus[Cell], project: Project) -> tuple[HandRun, ...]:
    """Return the complete runs by hand of a cell on this host, under its digest."""
    store = Store(reports=project.reports, kind=BY_HAND)
    runs = store.read(host_slug=this_host().slug, record_id=item.cell.id)
    return tuple(run for run in runs if run.digest == item.digest and run.complete)


def _run_by_hand(
    item: CellStatus[Cell], bench: Bench, tests: Sequence[SpeedTest], *, repeat: int
) -> HandRun:
    """Start the same command bare: output into files, nothing sampled meanwhile."""
    label = f"{bench.log.name}-by-hand-{uuid.uuid4().hex[:12]}"
    started_at = utc_now()
    run = ENGINE.run_bare(
        bench,
        tests,
        out=bench.log.with_name(f"{label}.jsonl"),
        timeout_s=bench.sweep.timeout_s * len(tests),
    )
    return HandRun(
        **stamp(),
        cell=item.cell.id,
        digest=item.digest,
        repeat=repeat,
        started_at=started_at,
        argv=run.argv,
        exit_code=run.exit_code,
        wall_s=run.wall_s,
        samples=run.samples,
    )
