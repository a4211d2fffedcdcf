"""The driver alone: a whole run whose hosts are simulated in its own process.

`python -m llamatrix.cluster.simulation CELLS HOSTS` prints what one run cost. Planning,
placing, threads, protocol, intake and store are the real ones; a simulated child answers
each order with records, without a process. Its own CPU time is not counted.
"""

import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from threading import Event

import msgspec

from llamatrix import shell
from llamatrix.clock import utc_now
from llamatrix.cluster.driver import Driver
from llamatrix.cluster.lanes import Lane, LaneLostError, child_environment
from llamatrix.cluster.planning import Planner
from llamatrix.cluster.protocol import (
    Finished,
    FromChild,
    Order,
    Provide,
    RecordLine,
    Stop,
    Survey,
    Surveyed,
    decode_to_child,
    encode,
    key_of,
    versions_of,
)
from llamatrix.commands.flags import MeasureFlags
from llamatrix.config.cell import Cell
from llamatrix.config.context import Context, load_context
from llamatrix.config.matrix import Measurement
from llamatrix.engines.outcome import Done, Process, SpeedSample
from llamatrix.errors import MeasureError
from llamatrix.host import this_host
from llamatrix.measure.telemetry import Telemetry
from llamatrix.measured_environment import process_conditions
from llamatrix.provision.build import compiled_by, manifest_of
from llamatrix.provision.weights.provide import WeightsFacts
from llamatrix.records.speed_record import SPEED, SpeedRecord, cell_facts
from llamatrix.records.store import Store
from llamatrix.units import bytes_text

_SIZES = (
    (1_000, 10),
    (1_000, 100),
    (1_000, 1_000),
    (3_000, 100),
    (10_000, 100),
    (10_000, 1_000),
)
"""Cells and hosts: growth with either alone, and both at their largest."""
_ORDER_S = 0.002
_TIMEOUT_S = 1800


class SimulatedTransport:
    """Hosts of this machine's kind under given classes, none of which exists."""

    def __init__(self, classes: Mapping[str, str], context: Context) -> None:
        self._classes = dict(classes)
        cells = context.plan().speed
        cell = cells[0]
        self._surveyed = Surveyed(
            versions=versions_of(context.project),
            host=this_host(),
            cards=(),
            compilers={key_of(cell): compiled_by(cell) for cell in cells},
            refusals={},
            free_bytes=1 << 40,
            time_s=0.0,
            conditions=process_conditions(),
        )
        self._record = SpeedRecord(
            cell=cell_facts(cell, digest=""),
            test=cell.tests[0],
            repeat=1,
            outcome=_outcome(cell),
            measured_at="",
            process=Process(id="0" * 12, argv=("llama-bench",), started_at=utc_now()),
            locked=cell.locked,
            build=manifest_of(cell),
            weights=WeightsFacts(kind=cell.weights, file="", sha256="", file_bytes=0),
            host=this_host(),
            telemetry=Telemetry(),
            made_by="simulation",
        )
        self.lanes: list[SimulatedLane] = []

    def hosts(self) -> Sequence[str]:
        return tuple(self._classes)

    def open(self, host: str, _card: int | None) -> Lane:
        of_class = msgspec.structs.replace(this_host(), slug=self._classes[host])
        lane = SimulatedLane(
            msgspec.structs.replace(self._surveyed, host=of_class),
            msgspec.structs.replace(self._record, host=of_class),
        )
        self.lanes.append(lane)
        return lane

    def close(self) -> None:
        return


class SimulatedLane:
    """A child that answers at once, from within the driver's process."""

    def __init__(self, surveyed: Surveyed, record: SpeedRecord) -> None:
        self._surveyed = surveyed
        self._record = record
        self._lines: list[bytes] = []
        self._ready_s = 0.0
        self._closed = Event()
        self.cpu_s = 0.0

    def send(self, line: bytes) -> None:
        begin_s = time.thread_time()
        answers: list[FromChild] = []
        match decode_to_child(line):
            case Survey():
                now_s = time.time()
                answers = [msgspec.structs.replace(self._surveyed, time_s=now_s)]
            case Provide():
                answers = [Finished()]
            case Order(speed=Cell() as cell) as order:
                answers = [*self._measured(order, cell), Finished()]
                self._ready_s = time.monotonic() + _ORDER_S
            case Stop():
                self._closed.set()
            case _:
                pass
        self._lines += map(encode, answers)
        self.cpu_s += time.thread_time() - begin_s

    def receive(self, timeout_s: float) -> Sequence[bytes]:
        busy_s = (
            max(0.0, self._ready_s - time.monotonic()) if self._lines else timeout_s
        )
        if self._closed.wait(min(busy_s, timeout_s)):
            raise LaneLostError("closed")
        if busy_s > timeout_s:
            return ()
        lines, self._lines = self._lines, []
        return lines

    def close(self) -> None:
        self._closed.set()

    def _measured(self, order: Order, cell: Cell) -> list[RecordLine]:
        facts = cell_facts(cell, digest=order.digest)
        records = [
            msgspec.structs.replace(
                self._record,
                cell=facts,
                test=test,
                repeat=due.number,
                measured_at=utc_now(),
            )
            for due in order.due
            for test in due.tests
        ]
        file = f"{self._record.host.slug}/{facts.id}.jsonl"
        return [RecordLine(file=file, line=SPEED.encode(record)) for record in records]


def _outcome(cell: Cell) -> Done:
    sample = SpeedSample(
        test=cell.tests[0],
        tokens=(128,) * 5,
        nanoseconds=(10**9,) * 5,
        tokens_per_second=(128.0,) * 5,
        published_tps=128.0,
        published_sd_tps=0.0,
        raw=msgspec.Raw(b"{}"),
    )
    return Done(result=sample)


def simulated_planner(cells: int, reports: Path) -> Planner:
    """Plan that many cells of one test, each of a model of its own."""
    context = load_context("smoke")
    project = replace(context.project, other_reports=reports)
    (like, *_) = context.plan("speed/*").speed
    sweep = msgspec.structs.replace(
        like.sweep, processes=1, target_spread=None, n_prompt=(), n_gen=(32,)
    )
    keys = [f"{like.model_key}-{number}" for number in range(cells)]
    matrix = msgspec.structs.replace(
        context.matrix,
        sweeps={**context.matrix.sweeps, like.sweep_key: sweep},
        models={**context.matrix.models, **dict.fromkeys(keys, like.model)},
    )
    context = replace(context, project=project, matrix=matrix)
    return Planner(
        context=context.narrowed(models=tuple(keys)),
        flags=MeasureFlags(cells="speed/*"),
        kinds=[Measurement.SPEED],
    )


def simulate(cells: int, hosts: int) -> float:
    """Run the driver once; return its CPU time in seconds. MeasureError where a record is missing or doubled."""
    with tempfile.TemporaryDirectory(prefix="llamatrix-simulated-") as folder:
        planner = simulated_planner(cells, Path(folder))
        classes = {f"host{number}": "simulated" for number in range(hosts)}
        transport = SimulatedTransport(classes, planner.context)
        begin_s = time.process_time()
        Driver(transport, planner).run()
        spent_s = time.process_time() - begin_s
        store = Store(reports=Path(folder), kind=SPEED)
        recorded = Counter(record.cell.id for record in store.read_all())
        if len(recorded) != cells or set(recorded.values()) != {1}:
            raise MeasureError(f"{len(recorded)} of {cells} cells are recorded once")
    return spent_s - sum(lane.cpu_s for lane in transport.lanes)


def report() -> None:
    """Print the cost of each size of run, and its ratio to that of the first."""
    env = child_environment(None, os.environ)
    first_s = 0.0
    for cells, hosts in _SIZES:
        argv = (sys.executable, "-m", __name__, str(cells), str(hosts))
        ended = shell.run(argv, timeout_s=_TIMEOUT_S, env=env)
        if not ended.ok:
            raise MeasureError(ended.complaint())
        cpu_s = float(ended.out)
        first_s = first_s or cpu_s
        print(
            f"{cells} cells, {hosts} hosts: {cpu_s:.2f} s of the driver's CPU, "
            f"{1000 * cpu_s / cells:.2f} ms per cell, {cpu_s / first_s:.1f} times that "
            f"of the first; peak memory {bytes_text(ended.peak_rss_bytes)}",
            flush=True,
        )


if __name__ == "__main__":
    print(simulate(int(sys.argv[1]), int(sys.argv[2])))
