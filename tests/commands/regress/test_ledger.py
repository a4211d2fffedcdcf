"""Recorded processes as pairs: nothing half done, clocks only where they move."""

import msgspec
import pytest
from tests.commands.regress.conftest import Regress

from llamatrix.commands.regress.ledger import SPEED_PAIRS, Entry, pairs_of
from llamatrix.commands.regress.pairing import last_series
from llamatrix.measure.telemetry import CpuSample, Telemetry
from llamatrix.project import Project
from llamatrix.records.store import Store
from llamatrix.stats.pairs import Arm


@pytest.fixture
def entries(pins: Project, regress: Regress) -> list[Entry]:
    """Those of a whole comparison."""
    assert regress("--metric", "tg").returncode == 0
    return list(Store(reports=pins.reports, kind=SPEED_PAIRS).read_all())


def with_mhz(entry: Entry, mhz: float) -> Entry:
    sample = CpuSample(at_s=1.0, load_percent=50.0, mhz=mhz)
    return msgspec.structs.replace(entry, telemetry=Telemetry(cpu=(sample,)))


def test_a_pair_of_one_process_and_the_warm_up_are_no_pairs(
    entries: list[Entry],
) -> None:
    assert last_series(entries) == 1
    assert [pair.number for pair in pairs_of(entries, series=1)] == [1, 2, 3, 4, 5]
    assert len(pairs_of(entries[:-1], series=1)) == 4
    assert not pairs_of(entries, series=2)


def test_one_disturbed_process_disturbs_its_pair(entries: list[Entry]) -> None:
    entries[-1] = msgspec.structs.replace(entries[-1], disturbed="a burner")
    *quiet, last = pairs_of(entries, series=1)
    assert last.disturbed == f"{entries[-1].arm}: a burner"
    assert not any(pair.disturbed for pair in quiet)


def test_clocks_that_never_move_are_not_handed_on(entries: list[Entry]) -> None:
    steady = [with_mhz(entry, 2600.0) for entry in entries]
    assert {pair.baseline_mhz for pair in pairs_of(steady, series=1)} == {None}
    moving = [
        with_mhz(entry, 2600.0 if entry.arm is Arm.BASELINE else 2500.0)
        for entry in entries
    ]
    pairs = pairs_of(moving, series=1)
    assert {(pair.baseline_mhz, pair.candidate_mhz) for pair in pairs} == {
        (2600.0, 2500.0)
    }
