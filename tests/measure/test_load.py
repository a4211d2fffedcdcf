"""What disturbs a pair: foreign load, stolen time, heat, neighbours on the card."""

from pathlib import Path

import pytest

from llamatrix.measure.load import (
    KernelWatch,
    Load,
    Mark,
    disturbance,
    load_between,
)
from llamatrix.measure.telemetry import Telemetry

_BEGIN = Mark(total_s=100.0, busy_s=50.0, stolen_s=1.0, own_s=10.0, throttled=3)
_NOTHING = Telemetry()


def end(
    *, total_s: float = 20.0, busy_s: float, own_s: float, stolen_s: float = 0.0
) -> Mark:
    """Ten seconds later on two cores, unless said otherwise."""
    return Mark(
        total_s=_BEGIN.total_s + total_s,
        busy_s=_BEGIN.busy_s + busy_s,
        stolen_s=_BEGIN.stolen_s + stolen_s,
        own_s=_BEGIN.own_s + own_s,
        throttled=_BEGIN.throttled,
    )


def test_our_own_processes_are_no_foreign_load() -> None:
    load = load_between(_BEGIN, end(busy_s=19.0, own_s=19.0))
    assert load.foreign_percent == 0
    assert not disturbance(load, _NOTHING, tolerated_percent=10)


def test_a_burner_on_one_of_two_cores_disturbs() -> None:
    load = load_between(_BEGIN, end(busy_s=20.0, own_s=10.0))
    assert load.foreign_percent == 50
    said = disturbance(load, _NOTHING, tolerated_percent=10)
    assert said == "foreign CPU load 50 % of all cores (tolerated: 10 %)"
    assert not disturbance(load, _NOTHING, tolerated_percent=100)


def test_time_that_the_hypervisor_took_disturbs() -> None:
    load = load_between(_BEGIN, end(busy_s=10.0, own_s=10.0, stolen_s=4.0))
    assert "hypervisor took 20 %" in disturbance(load, _NOTHING, tolerated_percent=10)


def test_heat_disturbs() -> None:
    said = disturbance(Load(throttled=2), _NOTHING, tolerated_percent=10)
    assert said == "the processor throttled 2 times"


@pytest.mark.parametrize(
    ("reason", "disturbs"),
    [
        ("other processes on the card: 1", True),
        ("throttled: sw_thermal_slowdown", True),
        ("throttled: hw_power_brake_slowdown", True),
        ("throttled: sw_power_cap", False),
    ],
)
def test_a_card_at_its_power_limit_is_steady(reason: str, *, disturbs: bool) -> None:
    telemetry = Telemetry(disturbances=(reason,))
    assert bool(disturbance(Load(), telemetry, tolerated_percent=10)) is disturbs


def test_the_kernels_counters_are_read_in_seconds(tmp_path: Path) -> None:
    stat = tmp_path / "stat"
    stat.write_text("cpu  100 200 300 400 50 60 70 80 9 9\ncpu0 1 2 3\n")
    count = tmp_path / "cpu0" / "thermal_throttle" / "core_throttle_count"
    count.parent.mkdir(parents=True)
    count.write_text("4\n")
    mark = KernelWatch(stat=stat, cores=tmp_path).mark()
    assert mark.total_s == pytest.approx(12.6)
    assert mark.busy_s == pytest.approx(7.3)
    assert mark.stolen_s == pytest.approx(0.8)
    assert mark.throttled == 4
    assert mark.own_s > 0


def test_a_kernel_that_tells_nothing_disturbs_nothing(tmp_path: Path) -> None:
    watch = KernelWatch(stat=tmp_path / "none", cores=tmp_path)
    load = watch.since(watch.mark())
    assert load.foreign_percent is None
    assert not disturbance(load, _NOTHING, tolerated_percent=0)
