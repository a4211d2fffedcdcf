"""`invoke bench-self --cluster`: whether a cluster changes what is measured.

Pairs in a drawn order, through one child of the cluster and here: a fixed work of the CPU
alone, which is steadier than any model, and a short process of a speed cell.
"""

import math
import statistics
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec

from llamatrix.cluster.child import fixed_work
from llamatrix.cluster.commands import driver_of, planner_of
from llamatrix.cluster.driver import Driver, Host, stop
from llamatrix.cluster.intake import Batch
from llamatrix.cluster.lanes import Lane
from llamatrix.cluster.placing import LaneId
from llamatrix.cluster.planning import Planner
from llamatrix.cluster.protocol import FixedWork, Worked
from llamatrix.cluster.simulation import report as report_simulated
from llamatrix.commands.bench import install, measure_cell
from llamatrix.commands.flags import BenchSelfFlags, MeasureFlags
from llamatrix.commands.pending import Due, speed_status
from llamatrix.config.cell import Cell
from llamatrix.config.matrix import Measurement
from llamatrix.engines.outcome import Done
from llamatrix.errors import MeasureError
from llamatrix.host import this_host
from llamatrix.measure.disturbances import KernelWatch
from llamatrix.progress import say
from llamatrix.records.speed_record import SPEED, SpeedRecord
from llamatrix.records.store import Store
from llamatrix.stats.intervals import estimate
from llamatrix.stats.pairs import Arm, drawn_order

_SEED = "bench-self --cluster"
_SIMULATED = "simulated"
_TEST_TOKENS = 64
_REPETITIONS = 5


def bench_self(flags: BenchSelfFlags) -> None:
    """Print the ratios of work through the cluster to the same work here, interleaved.

    MeasureError where measured programs inherited something else there, or where no host
    of the cluster is of this machine's class.
    """
    if flags.cluster == _SIMULATED:
        report_simulated()
        return
    with tempfile.TemporaryDirectory(prefix="llamatrix-self-") as aside:
        planner = _planner(flags, Path(aside))
        with driver_of(planner) as driver:
            host, lane = _open(driver)
            try:
                _compare(flags, planner, driver, host, lane)
            finally:
                stop(lane)


def _planner(flags: BenchSelfFlags, aside: Path) -> Planner:
    """One cell with one short test, recorded aside."""
    taken = MeasureFlags(
        cluster=flags.cluster,
        profile=flags.profile or "smoke",
        cells=f"speed/{flags.model}.*",
        weights_dir=flags.weights_dir,
    )
    planner = planner_of(taken, [Measurement.SPEED])
    context = planner.context.narrowed(models=(flags.model,))
    cell = context.plan(taken.cells).speed[0]
    sweep = msgspec.structs.replace(
        cell.sweep,
        n_prompt=(),
        n_gen=(_TEST_TOKENS,),
        n_depth=(0,),
        repetitions=_REPETITIONS,
        processes=1,
        target_spread=None,
    )
    matrix = msgspec.structs.replace(
        context.matrix, sweeps={**context.matrix.sweeps, cell.sweep_key: sweep}
    )
    project = replace(context.project, other_reports=aside)
    context = replace(context, project=project, matrix=matrix)
    return replace(planner, context=context, flags=replace(taken, cells=cell.id))


def _open(driver: Driver) -> tuple[Host, Lane]:
    """Open a child on a host of this machine's class; MeasureError where there is none."""
    hosts, unfit = driver.survey()
    for name, why in unfit.items():
        say(f"{name}: left out: {why}")
    for host in hosts:
        if host.whole.slug == this_host().slug:
            return driver.open(host.name, Batch())
    raise MeasureError("bench-self: no host of the cluster is of this machine's class")


def _compare(
    flags: BenchSelfFlags, planner: Planner, driver: Driver, host: Host, lane: Lane
) -> None:
    context = planner.context
    lane_id = LaneId(host=host.name, card=None, site=host.whole)
    cell = context.plan(planner.flags.cells).speed[0]
    here = Store(reports=context.project.reports / "here", kind=SPEED)
    there = Store(reports=context.project.reports, kind=SPEED)
    status = speed_status(cell, there)
    parts = install(status, context)
    works: list[dict[Arm, Worked]] = []

    def work_there() -> Worked:
        return driver.ask(FixedWork(), Worked, host.name, lane)

    def measure_here(due: Sequence[Due]) -> None:
        own = replace(status, due=tuple(due))
        measure_cell(own, parts, context.project, here, KernelWatch(), warm=False)

    def measure_there(due: Sequence[Due]) -> None:
        unit = planner.unit(host.whole, replace(status, due=tuple(due)))
        if problem := driver.do(lane_id, lane, unit):
            raise MeasureError(f"bench-self: {problem}")

    does: dict[Arm, tuple[Callable[[], Worked], Callable[[Sequence[Due]], None]]] = {
        Arm.BASELINE: (fixed_work, measure_here),
        Arm.CANDIDATE: (work_there, measure_there),
    }
    try:
        for number in range(1, flags.pairs + 1):
            say(f"pair {number} of {flags.pairs}")
            order = drawn_order(_SEED, number)
            works.append({arm: does[arm][0]() for arm in order})
            if number == 1:
                _print_inherited(works[0][Arm.BASELINE], works[0][Arm.CANDIDATE])
            for arm in order:
                does[arm][1]([Due(number=number, tests=cell.tests)])
    finally:  # nothing of it is recorded: Ctrl-C still gets the pairs that ended
        title = f"by --cluster {flags.cluster} over here"
        for name, seconds in (("wall time", "wall_s"), ("CPU time", "cpu_s")):
            ratios = [
                getattr(pair[Arm.CANDIDATE], seconds)
                / getattr(pair[Arm.BASELINE], seconds)
                for pair in works
            ]
            _print_ratio(f"fixed work, {name} {title}", ratios)
        speeds = zip(_speeds(there, cell), _speeds(here, cell), strict=False)
        _print_ratio(f"tg{_TEST_TOKENS}, speed {title}", [a / b for a, b in speeds])


def _print_inherited(here: Worked, there: Worked) -> None:
    """Print what measured programs inherit; MeasureError where it differs."""
    if here.digest != there.digest:
        raise MeasureError("bench-self: the fixed work had another result there")
    differing = []
    for name, value in here.inherited.items():
        other = there.inherited.get(name, "unknown")
        print(f"{name}: {value} here, {'the same' if other == value else other} there")
        differing += [name] if other != value else []
    names = sorted(
        name
        for name in {*here.environment, *there.environment}
        if here.environment.get(name) != there.environment.get(name)
    )
    print(
        f"environment: {len(here.environment)} variables here, "
        + (f"others there: {', '.join(names)}" if names else "the same there")
    )
    if differing:
        raise MeasureError(
            f"bench-self: measured programs inherit something else there: "
            f"{', '.join(differing)}"
        )


def _speeds(store: Store[SpeedRecord], cell: Cell) -> Iterable[float]:
    for record in store.read(host_slug=this_host().slug, record_id=cell.id):
        if not isinstance(record.outcome, Done):
            raise MeasureError(f"bench-self: {record.test.name}: {record.outcome}")
        yield statistics.fmean(record.outcome.result.steady)


def _print_ratio(title: str, ratios: Sequence[float]) -> None:
    if not ratios:
        return
    ratio = estimate([math.log(one) for one in ratios])
    interval = ratio.interval()
    between = f" [{interval.low:.4f}, {interval.high:.4f}]" if interval else ""
    print(f"{title}, {len(ratios)} pairs: {ratio.ratio:.4f}{between}")
