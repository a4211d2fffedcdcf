"""`invoke bench-self --cluster`: whether a cluster changes what is measured."""

import math
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import msgspec

from llamatrix.cluster.commands import driver_of, planner_of
from llamatrix.cluster.planning import Planner
from llamatrix.commands.bench import measure
from llamatrix.commands.flags import BenchSelfFlags, MeasureFlags
from llamatrix.commands.pending import speed_status
from llamatrix.config.matrix import Measurement
from llamatrix.engines.outcome import Done
from llamatrix.errors import MeasureError
from llamatrix.host import this_host
from llamatrix.progress import say
from llamatrix.records.speed_record import SPEED, SpeedRecord
from llamatrix.records.store import Store
from llamatrix.stats.intervals import estimate
from llamatrix.stats.pairs import Arm, drawn_order

_SEED = "bench-self --cluster"


def bench_self(flags: BenchSelfFlags) -> None:
    """Print the ratio of a cell through the cluster to the same cell here, interleaved.

    MeasureError where measured programs inherited something else there, or where no host
    of the cluster is of this machine's class.
    """
    base = _planner(flags)
    pairs: list[tuple[list[SpeedRecord], list[SpeedRecord]]] = []
    for number in range(1, flags.pairs + 1):
        say(f"pair {number} of {flags.pairs}")
        made = {}
        for arm in drawn_order(_SEED, number):
            with tempfile.TemporaryDirectory(prefix="llamatrix-self-") as aside:
                made[arm] = _records(arm, base, Path(aside))
        _require_same(made[Arm.BASELINE], made[Arm.CANDIDATE])
        pairs.append((made[Arm.BASELINE], made[Arm.CANDIDATE]))
    conditions = msgspec.json.encode(pairs[0][1][0].same_environment).decode()
    print(f"inherited by measured programs, here and there: {conditions}")
    for place, record in enumerate(pairs[0][0]):
        ratio = estimate(
            [math.log(_tps(there[place]) / _tps(here[place])) for here, there in pairs]
        )
        interval = ratio.interval()
        between = f" [{interval.low:.3f}, {interval.high:.3f}]" if interval else ""
        print(
            f"{record.test.name} by --cluster {flags.cluster} over here, {len(pairs)} "
            f"pairs: {ratio.ratio:.3f}{between}"
        )


def _planner(flags: BenchSelfFlags) -> Planner:
    """One cell in one process."""
    taken = MeasureFlags(
        cluster=flags.cluster,
        profile=flags.profile or "smoke",
        cells=f"speed/{flags.model}.*",
        weights_dir=flags.weights_dir,
    )
    planner = planner_of(taken, [Measurement.SPEED])
    context = planner.context.narrowed(models=(flags.model,))
    cell = context.plan(taken.cells).speed[0]
    sweep = msgspec.structs.replace(cell.sweep, processes=1, target_spread=None)
    sweeps = {**context.matrix.sweeps, cell.sweep_key: sweep}
    matrix = msgspec.structs.replace(context.matrix, sweeps=sweeps)
    context = replace(context, matrix=matrix)
    return replace(planner, context=context, flags=replace(taken, cells=cell.id))


def _records(arm: Arm, base: Planner, aside: Path) -> list[SpeedRecord]:
    """Measure the cell once, into a store of its own."""
    project = replace(base.context.project, other_reports=aside)
    context = replace(base.context, project=project)
    store = Store(reports=project.reports, kind=SPEED)
    if arm is Arm.BASELINE:
        cell = context.plan(base.flags.cells).speed[0]
        measure([speed_status(cell, store)], context)
    else:
        with driver_of(replace(base, context=context)) as driver:
            driver.run()
    return [one for one in store.read_all() if one.host.slug == this_host().slug]


def _require_same(here: Sequence[SpeedRecord], there: Sequence[SpeedRecord]) -> None:
    if len(there) != len(here):
        raise MeasureError(
            "bench-self: no host of the cluster is of this machine's class, or it could "
            "not measure the cell"
        )
    for ours, theirs in zip(here, there, strict=True):
        if ours.same_environment != theirs.same_environment:
            raise MeasureError(
                f"bench-self: measured programs inherit {theirs.same_environment} there "
                f"and {ours.same_environment} here"
            )


def _tps(record: SpeedRecord) -> float:
    if not isinstance(record.outcome, Done):
        raise MeasureError(f"bench-self: {record.test.name}: {record.outcome}")
    return statistics.fmean(record.outcome.result.steady)
