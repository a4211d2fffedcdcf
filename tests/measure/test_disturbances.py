"""Steady state and what disturbs it."""

from pathlib import Path

import msgspec
import pytest
from tests.records.made import made_row

from llamatrix.config.cell import SpeedTest
from llamatrix.engines.llama_cpp.llama_bench import parse_row
from llamatrix.engines.outcome import SpeedSample
from llamatrix.measure.disturbances import (
    KernelWatch,
    Load,
    Mark,
    disturbance,
    disturbances,
    is_steady,
    load_between,
)
from llamatrix.measure.telemetry import GpuSample, Telemetry


def course(
    seconds: int, *, mhz: float = 0.0, celsius: float = 0.0, index: int = 0
) -> list[GpuSample]:
    """One sample a second; clock and temperature move by so much in each."""
    return [
        GpuSample(
            at_s=second,
            index=index,
            sm_mhz=round(1900 + mhz * second),
            celsius=round(50 + celsius * second),
            throttle=(),
        )
        for second in range(seconds)
    ]


def test_a_card_whose_clock_and_temperature_stand_still_is_steady() -> None:
    assert is_steady(course(8))


@pytest.mark.parametrize(
    "samples",
    [
        [],
        course(4),
        course(8, mhz=-20),
        course(8, celsius=1),
        [*course(8), *course(8, celsius=1, index=1)],
    ],
    ids=["none", "too few", "clock falls", "warms", "second card warms"],
)
def test_a_card_that_still_moves_is_not_steady(samples: list[GpuSample]) -> None:
    ordered = sorted(samples, key=lambda one: one.at_s)
    assert not is_steady(ordered)


def test_what_moved_long_ago_does_not_count() -> None:
    early = [msgspec.structs.replace(one, celsius=30) for one in course(4)]
    late = [msgspec.structs.replace(one, at_s=one.at_s + 20) for one in course(8)]
    assert is_steady([*early, *late])


def test_an_idle_card_is_not_in_the_steady_state_of_work() -> None:
    idle = [msgspec.structs.replace(one, throttle=("gpu_idle",)) for one in course(8)]
    assert not is_steady(idle)


def row(seconds: float) -> SpeedSample:
    test = SpeedTest(n_prompt=0, n_gen=100)
    return parse_row(made_row(test, (200 / seconds,) * 2))


def changed(samples: list[GpuSample], at: int, **fields: object) -> Telemetry:
    samples[at] = msgspec.structs.replace(samples[at], **fields)
    return Telemetry(gpu=tuple(samples))


def test_a_quiet_run_is_not_disturbed() -> None:
    assert disturbances(Telemetry(gpu=tuple(course(10))), row(5)) == ()
    assert disturbances(Telemetry(), row(5)) == ()


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"throttle": ("sw_power_cap",)}, "throttled: sw_power_cap"),
        ({"others": 2, "other_bytes": 2**30}, "card: 2, holding 1 GiB"),
        ({"sm_mhz": 1500}, "SM clock fell to 1500 MHz (median 1900 MHz)"),
    ],
)
def test_what_disturbs_a_run_is_named(fields: dict[str, object], word: str) -> None:
    (found,) = disturbances(changed(course(10), 7, **fields), row(5))
    assert word in found


def test_reasons_that_hold_nothing_back_are_no_disturbance() -> None:
    harmless = ("gpu_idle", "applications_clocks_setting")
    telemetry = changed(course(10), 7, throttle=harmless)
    assert disturbances(telemetry, row(5)) == ()


def test_throttling_before_the_repetitions_is_none_of_them() -> None:
    telemetry = changed(course(10), 1, throttle=("hw_slowdown",), sm_mhz=300)
    assert disturbances(telemetry, row(5)) == ()


def test_a_neighbour_during_a_failed_test_is_named() -> None:
    telemetry = changed(course(10), 3, others=1)
    assert disturbances(telemetry, None) == ("other processes on the card: 1",)


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
