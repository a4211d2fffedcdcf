"""The whole driver on simulated hosts: each cell once, whatever happens to a lane."""

from pathlib import Path
from threading import Event

import pytest

from llamatrix.cluster.driver import Driver, Outcome
from llamatrix.cluster.lanes import Lane, LaneLostError
from llamatrix.cluster.planning import Planner
from llamatrix.cluster.protocol import Order, decode_to_child
from llamatrix.cluster.simulation import SimulatedTransport, simulated_planner
from llamatrix.records.speed_record import SPEED
from llamatrix.records.store import Store

pytestmark = pytest.mark.usefixtures("project")


class Dying:
    """A child that is gone at its first order."""

    def __init__(self, lane: Lane, died: Event) -> None:
        self._lane = lane
        self._died = died
        self.receive = lane.receive
        self.close = lane.close

    def send(self, line: bytes) -> None:
        if isinstance(decode_to_child(line), Order):
            self._died.set()
            raise LaneLostError("its plug is out")
        self._lane.send(line)


class WithoutBoxA(SimulatedTransport):
    """`boxa` dies and is unreachable from then on; only then do others answer."""

    def __init__(self, classes: dict[str, str], planner: Planner) -> None:
        super().__init__(classes, planner.context)
        self._died = Event()

    def open(self, host: str, card: int | None) -> Lane:
        lane = super().open(host, card)
        if host != "boxa":
            assert self._died.wait(60)
            return lane
        if self._died.is_set():
            raise LaneLostError("unreachable")
        return Dying(lane, self._died)


def run(transport: SimulatedTransport, planner: Planner) -> tuple[Outcome, list[str]]:
    outcome, _ = Driver(transport, planner, return_within_s=0.0).run()
    store = Store(reports=planner.context.project.reports, kind=SPEED)
    return outcome, [record.cell.id for record in store.read_all()]


def test_each_cell_is_recorded_once_on_many_hosts(tmp_path: Path) -> None:
    planner = simulated_planner(60, tmp_path)
    classes = {f"host{number}": "simulated" for number in range(12)}
    outcome, recorded = run(SimulatedTransport(classes, planner.context), planner)
    assert len(recorded) == len(set(recorded)) == outcome.measured == 60


def test_a_lost_host_is_named_and_the_others_of_its_class_do_its_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    planner = simulated_planner(8, tmp_path)
    classes = {"boxa": "simulated", "boxb": "simulated"}
    outcome, recorded = run(WithoutBoxA(classes, planner), planner)
    said = capsys.readouterr().err
    assert not outcome.unmeasured
    assert len(recorded) == len(set(recorded)) == 8
    assert said.count("boxa: lost: its plug is out; ") == 1


def test_a_class_without_a_host_is_not_waited_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    planner = simulated_planner(3, tmp_path)
    classes = {"boxa": "one", "boxb": "another"}
    outcome, recorded = run(WithoutBoxA(classes, planner), planner)
    said = capsys.readouterr().err
    assert len(recorded) == 3, "those of the other class"
    assert len(outcome.unmeasured) == 3
    assert "boxa: left out: unreachable" in said
    assert "lost and not back: boxa (its plug is out)" in said
