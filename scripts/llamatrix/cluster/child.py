"""The program that measures on a host: `python -m llamatrix.cluster.child DRIVER LANE`.

It reads orders as JSON lines from standard input and writes what `protocol.py` describes
to standard output. Records also lie in the host's spool until the driver has them. It
ends, with all programs it started, when its input ends.
"""

import io
import os
import queue
import shutil
import signal
import sys
import threading
import time
import traceback
from contextlib import redirect_stderr, suppress
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from llamatrix import shell
from llamatrix.clock import correct
from llamatrix.cluster.protocol import (
    Alive,
    Finished,
    FixedWork,
    FromChild,
    Order,
    Provide,
    RecordLine,
    Said,
    Stop,
    Survey,
    Surveyed,
    Taken,
    ToChild,
    Worked,
    decode_to_child,
    encode,
    key_of,
    line_sha256,
    versions_of,
)
from llamatrix.cluster.spool import Spool, SpoolStore, spool_of
from llamatrix.commands.agent import make_trials
from llamatrix.commands.bench import install, measure_cell
from llamatrix.commands.context import plan_search, run_search
from llamatrix.commands.pending import CellStatus, CellT
from llamatrix.config.cell import EngineCell
from llamatrix.config.context import Context, load_context
from llamatrix.errors import BenchError, MeasureError
from llamatrix.host import class_of, this_host
from llamatrix.measure.disturbances import KernelWatch
from llamatrix.measured_environment import measured_environment, process_conditions
from llamatrix.measuring import measuring
from llamatrix.nvml import find_library, gpus, open_cards
from llamatrix.orphan_reaper import MARK_VARIABLE
from llamatrix.project import Project, find_project
from llamatrix.provision.build import compiled_by, provide_build
from llamatrix.provision.hardware import require_device, require_instructions
from llamatrix.records.context_record import CONTEXT
from llamatrix.records.speed_record import kind_of
from llamatrix.records.store import R, RecordKind, Store
from llamatrix.records.trial_record import AGENT
from llamatrix.trials.checks.task import task_digest

_ALIVE_EVERY_S = 5.0
_FIXED_WORK_S = 600.0
_UNHEARD_S = 120.0
"""Within which the driver has taken an answer: longer than it waits for a lane."""


class Wire:
    """The lines to the driver; without a reader this process has nothing left to do."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._guard = threading.Lock()

    def send(self, message: FromChild) -> None:
        with self._guard:
            try:
                self._out.write(encode(message))
                self._out.flush()
            except OSError:
                os._exit(1)  # the orphan reaper ends what we started


class _Saying(io.TextIOBase):
    """Standard error, which the driver shows."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._rest = ""

    def write(self, text: str) -> int:
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            self._wire.send(Said(line))
        return len(text)


class Child:
    def __init__(self, wire: Wire, project: Project, spool: Spool) -> None:
        self._wire = wire
        self._spool = spool
        self._project = Project(
            root=project.root, cache=project.cache, other_reports=spool.reports
        )
        self._sent: set[str] = set()
        """Lines of the spool that were sent by us, by their sha256."""
        self._clock_ahead_s = 0.0

    def answer(self, message: Survey | Provide | Order | Taken | FixedWork) -> None:
        match message:
            case Survey():
                if message.collect:
                    _end_predecessors()
                    self._send_spooled()
                self._wire.send(_surveyed(message, self._project))
            case Provide():
                self._wire.send(Finished(problem=_problem_of(self._provide, message)))
            case Order():
                problem = _problem_of(self._measure, message)
                if cell := message.speed or message.agent:
                    self._send_spooled(f"{this_host().slug}/{cell.id}.jsonl")
                self._wire.send(Finished(problem=problem))
            case Taken():
                self._spool.forget(frozenset(message.lines))
                self._sent.difference_update(message.lines)
                if message.clock_ahead_s is not None:
                    self._clock_ahead_s = message.clock_ahead_s
                    correct(ahead_s=message.clock_ahead_s)
            case FixedWork():
                self._wire.send(fixed_work())

    def _provide(self, message: Provide) -> None:
        """Compile, which nothing on this host may measure beside."""
        cache = self._project.cache
        with measuring(purpose="building"):
            for speed in message.engines:
                provide_build(speed, cache, program=speed.program)
            for agent in message.agents:
                provide_build(agent, cache)

    def _measure(self, order: Order) -> None:
        if order.context:
            with redirect_stderr(io.StringIO()):  # as in `_context`
                search = plan_search(order.context)
            if search.known.digest != order.digest:
                raise _other_digest(search.known.id)
            run_search(search, self._store(CONTEXT))
            return
        if agent := order.agent:
            _require_digest(order, agent, task_digest=task_digest(agent.task))
            make_trials(
                [_status(order, agent)],
                self._context(order),
                any_template=order.any_template,
                store=self._store(AGENT),
            )
        elif cell := order.speed:
            _require_digest(order, cell)
            status, context = _status(order, cell), self._context(order)
            store = self._store(kind_of(cell))
            store.require_room(this_host().slug)
            parts = install(status, context)
            measure_cell(status, parts, self._project, store, KernelWatch(), warm=False)

    def _context(self, order: Order) -> Context:
        with redirect_stderr(io.StringIO()):  # the driver has said which profile
            return _loaded(order.profile, order.weights_dir, self._project)

    def _store(self, kind: RecordKind[R]) -> Store[R]:
        def pass_on(record: R) -> None:
            file = f"{record.host.slug}/{record.record_id}.jsonl"
            self._send(RecordLine(file=file, line=kind.encode(record)))

        return SpoolStore(
            reports=self._project.reports,
            kind=kind,
            clock_ahead_s=self._clock_ahead_s,
            on_append=pass_on,
        )

    def _send_spooled(self, file: str = "") -> None:
        """Send lines that another child wrote for this driver and could not hand in."""
        for line in self._spool.lines(file):
            if line_sha256(line.line) not in self._sent:
                self._send(line)

    def _send(self, line: RecordLine) -> None:
        for piece in self._spool.pieces(line):
            self._wire.send(piece)
        self._wire.send(line)
        self._sent.add(line_sha256(line.line))


def fixed_work() -> Worked:
    """Run the fixed work as a measured program is run."""
    program = Path(__file__).with_name("fixed_work.py")
    with measuring():
        ended = shell.run(
            [sys.executable, "-I", "-S", str(program)],
            timeout_s=_FIXED_WORK_S,
            env=measured_environment({}),
        )
    if not ended.ok:
        raise MeasureError(ended.complaint())
    worked = msgspec.json.decode(ended.out, type=Worked)
    worked.environment.pop(MARK_VARIABLE)
    return worked


def _end_predecessors() -> None:
    """End children of the same driver and lane that it has lost and we would wait for.

    What they measured is in the spool.
    """
    own = Path("/proc/self/cmdline").read_bytes()
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            other = entry.name != str(os.getpid())
            if other and (entry / "cmdline").read_bytes() == own:
                os.kill(int(entry.name), signal.SIGKILL)


def _surveyed(survey: Survey, project: Project) -> Surveyed:
    cells = (*survey.engines, *survey.agents)
    with open_cards(find_library()) as cards:
        named = [card.index for card in cards]
    place = project.cache
    while not place.exists():
        place = place.parent
    return Surveyed(
        versions=versions_of(project),
        host=this_host(),
        cards=tuple(
            (index, class_of((card,)))
            for index, card in zip(named, gpus(), strict=True)
        ),
        compilers={key_of(cell): compiled_by(cell) for cell in cells},
        refusals={key_of(cell): why for cell in cells if (why := _refusal(cell))},
        free_bytes=shutil.disk_usage(place).free,
        time_s=time.time(),
        conditions=process_conditions(),
    )


def _refusal(cell: EngineCell) -> str:
    try:
        require_device(cell.build_key, cell.build)
        require_instructions(cell.build_key, cell.build)
    except BenchError as error:
        return str(error)
    return ""


def _status(order: Order, cell: CellT) -> CellStatus[CellT]:
    return CellStatus(
        cell=cell, digest=order.digest, due=order.due, written_at=order.written_at
    )


def _require_digest(order: Order, cell: Any, **task: str) -> None:  # noqa: ANN401
    own = cell.digest(host_slug=this_host().slug, compiler=compiled_by(cell), **task)
    if own != order.digest:
        raise _other_digest(cell.id)


def _other_digest(cell_id: str) -> MeasureError:
    return MeasureError(
        f"{cell_id}: the driver plans it under another digest than this host computes: "
        "hardware, compiler or checkout changed since the survey"
    )


@cache
def _loaded(profile: str, weights_dir: str, project: Project) -> Context:
    return load_context(profile, weights_dir=weights_dir, project=project)


def _problem_of(do: Any, message: ToChild) -> str:  # noqa: ANN401
    try:
        do(message)
    except (BenchError, OSError) as error:
        return str(error)
    return ""


def _listen(source: BinaryIO, messages: "queue.SimpleQueue[ToChild]") -> None:
    """Queue the driver's messages; when it is gone, or another one, so are we."""
    try:
        for line in source:
            messages.put(decode_to_child(line))
    finally:
        os._exit(1)


def _beat(wire: Wire) -> None:
    while True:
        wire.send(Alive())
        time.sleep(_ALIVE_EVERY_S)


def main() -> None:
    wire = Wire(os.fdopen(os.dup(1), "wb"))
    os.dup2(2, 1)  # whatever prints does not disturb the protocol
    messages: queue.SimpleQueue[ToChild] = queue.SimpleQueue()
    listening = (sys.stdin.buffer, messages)
    threading.Thread(target=_listen, args=listening, daemon=True).start()
    threading.Thread(target=_beat, args=(wire,), daemon=True).start()
    project = find_project()
    child = Child(wire, project, spool_of(sys.argv[1], project))
    code = 0
    with redirect_stderr(_Saying(wire)):
        try:
            message = messages.get()
            while not isinstance(message, Stop):
                child.answer(message)
                ordered = isinstance(message, Order)
                message = messages.get(timeout=_UNHEARD_S if ordered else None)
        except queue.Empty:  # no word after an answer: cut off for good
            code = 1
        except Exception:  # noqa: BLE001  a bug, whose traceback the driver shows
            traceback.print_exc()
            code = 1
    os._exit(code)  # not waiting for the thread that still reads our input


if __name__ == "__main__":
    main()
