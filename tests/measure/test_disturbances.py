"""Disturbances: load of others, stolen time, heat, neighbours on the card."""

import subprocess
import sys
import time
from pathlib import Path

import msgspec
import psutil
import pytest
from tests.measure.gpu_courses import course
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
    load_between,
)
from llamatrix.measure.telemetry import GpuSample, Telemetry


def row(seconds: float) -> SpeedSample:
    test = SpeedTest(n_prompt=0, n_gen=100)
    return parse_row(made_row(test, (200 / seconds,) * 2))


def changed(samples: list[GpuSample], at: int, **fields: object) -> Telemetry:
    samples[at] = msgspec.structs.replace(samples[at], **fields)
    return Telemetry(gpu=tuple(samples))


def test_quiet_run_is_not_disturbed() -> None:
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
def test_disturbance_of_a_run_is_named(fields: dict[str, object], word: str) -> None:
    (found,) = disturbances(changed(course(10), 7, **fields), row(5))
    assert word in found


def test_harmless_throttle_reasons_are_no_disturbance() -> None:
    harmless = ("gpu_idle", "applications_clocks_setting")
    telemetry = changed(course(10), 7, throttle=harmless)
    assert disturbances(telemetry, row(5)) == ()


def test_throttling_before_the_repetitions_is_ignored() -> None:
    telemetry = changed(course(10), 1, throttle=("hw_slowdown",), sm_mhz=300)
    assert disturbances(telemetry, row(5)) == ()


def test_other_process_during_a_failed_test_is_named() -> None:
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


def test_own_processes_are_not_foreign_load() -> None:
    load = load_between(_BEGIN, end(busy_s=19.0, own_s=19.0))
    assert load.foreign_percent == 0
    assert not disturbance(load, _NOTHING, tolerated_percent=10)


def test_burner_on_one_of_two_cores_disturbs() -> None:
    load = load_between(_BEGIN, end(busy_s=20.0, own_s=10.0))
    assert load.foreign_percent == 50
    said = disturbance(load, _NOTHING, tolerated_percent=10)
    assert said == "background CPU load 50 % of all cores (limit: 10 %)"
    assert not disturbance(load, _NOTHING, tolerated_percent=100)


def test_stolen_cpu_time_disturbs() -> None:
    load = load_between(_BEGIN, end(busy_s=10.0, own_s=10.0, stolen_s=4.0))
    assert "hypervisor took 20 %" in disturbance(load, _NOTHING, tolerated_percent=10)


def test_processor_throttling_disturbs() -> None:
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
def test_card_at_its_power_limit_is_steady(reason: str, *, disturbs: bool) -> None:
    telemetry = Telemetry(disturbances=(reason,))
    assert bool(disturbance(Load(), telemetry, tolerated_percent=10)) is disturbs


def test_kernel_counters_are_read_in_seconds(tmp_path: Path) -> None:
    count = tmp_path / "cpu0" / "thermal_throttle" / "core_throttle_count"
    count.parent.mkdir(parents=True)
    count.write_text("4\n")
    watch = KernelWatch(cores=tmp_path)
    begin, begin_s = watch.mark(), time.monotonic()
    begin_cpu_s = time.process_time()
    while time.process_time() - begin_cpu_s < 0.3:
        pass
    end = watch.mark()
    elapsed_s = time.monotonic() - begin_s
    cores = psutil.cpu_count() or 1
    assert end.total_s - begin.total_s == pytest.approx(cores * elapsed_s, rel=0.5)
    assert 0.1 < end.own_s - begin.own_s < elapsed_s + 0.1
    assert end.busy_s - begin.busy_s > 0.1
    assert end.stolen_s >= begin.stolen_s >= 0
    assert begin.throttled == end.throttled == 4


def test_cpu_time_of_children_counts_as_own() -> None:
    busy = "import time; t = time.process_time()\nwhile time.process_time() < t + 0.2: pass"
    watch = KernelWatch()
    begin = watch.mark()
    subprocess.run([sys.executable, "-c", busy], check=True)
    ended_s = watch.mark().own_s - begin.own_s
    assert ended_s > 0.18
    with subprocess.Popen(
        [sys.executable, "-c", f"{busy}\nprint()\ninput()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as running:
        assert running.stdout
        running.stdout.readline()
        assert watch.mark().own_s - begin.own_s > ended_s + 0.18
        running.communicate(b"\n")


def test_unchanged_counters_show_no_load() -> None:
    load = load_between(_BEGIN, _BEGIN)
    assert load.foreign_percent is None
    assert not disturbance(load, _NOTHING, tolerated_percent=0)
