"""Recorded processes as pairs: nothing half done, clocks only where they move."""

import msgspec
import pytest
from tests.commands.regress.conftest import Regress

from llamatrix.compare.ledger import last_series, pairs_of
from llamatrix.measure.telemetry import CpuSample, GpuSample, Telemetry
from llamatrix.project import Project
from llamatrix.records.pair_records import SPEED_PAIRS, SpeedRun
from llamatrix.records.store import Store
from llamatrix.stats.pairs import Arm, Pair
from llamatrix.stats.verdict import Metric


@pytest.fixture
def entries(pins: Project, regress: Regress) -> list[SpeedRun]:
    """Those of a whole comparison."""
    assert regress("--metric", "tg").returncode == 0
    return list(Store(reports=pins.reports, kind=SPEED_PAIRS).read_all())


def _pairs(entries: list[SpeedRun], *, series: int) -> tuple[Pair, ...]:
    return pairs_of(
        entries, series=series, value=lambda run: run.value(Metric.GENERATION)
    )


def with_mhz(entry: SpeedRun, mhz: float) -> SpeedRun:
    sample = CpuSample(at_s=1.0, load_percent=50.0, mhz=mhz)
    return msgspec.structs.replace(entry, telemetry=Telemetry(cpu=(sample,)))


def test_incomplete_pairs_and_the_warm_up_do_not_count(
    entries: list[SpeedRun],
) -> None:
    assert last_series(entries) == 1
    assert [pair.number for pair in _pairs(entries, series=1)] == [1, 2, 3, 4, 5]
    assert len(_pairs(entries[:-1], series=1)) == 4
    assert not _pairs(entries, series=2)


def test_one_disturbed_process_disturbs_its_pair(entries: list[SpeedRun]) -> None:
    entries[-1] = msgspec.structs.replace(entries[-1], disturbed="a burner")
    *quiet, last = _pairs(entries, series=1)
    assert last.disturbed == f"{entries[-1].arm}: a burner"
    assert not any(pair.disturbed for pair in quiet)


def test_constant_clocks_are_dropped(entries: list[SpeedRun]) -> None:
    steady = [with_mhz(entry, 2600.0) for entry in entries]
    assert {pair.baseline_mhz for pair in _pairs(steady, series=1)} == {None}
    moving = [
        with_mhz(entry, 2600.0 if entry.arm is Arm.BASELINE else 2500.0)
        for entry in entries
    ]
    pairs = _pairs(moving, series=1)
    assert {(pair.baseline_mhz, pair.candidate_mhz) for pair in pairs} == {
        (2600.0, 2500.0)
    }


def test_clocks_while_the_model_was_loaded_do_not_count(
    entries: list[SpeedRun],
) -> None:
    def with_loading(entry: SpeedRun) -> SpeedRun:
        clock = 1500 if entry.arm is Arm.BASELINE else 1400
        loading = GpuSample(at_s=0.5, sm_mhz=1950)
        measuring = GpuSample(at_s=1000.0, sm_mhz=clock)
        telemetry = Telemetry(gpu=(loading, measuring))
        return msgspec.structs.replace(entry, telemetry=telemetry)

    pairs = _pairs([with_loading(entry) for entry in entries], series=1)
    assert {(pair.baseline_mhz, pair.candidate_mhz) for pair in pairs} == {
        (1500.0, 1400.0)
    }
