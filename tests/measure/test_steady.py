"""Steady state and what disturbs it."""

import msgspec
import pytest
from tests.records.made import made_row

from llamatrix.config.cell import SpeedTest
from llamatrix.engines.llama_cpp.llama_bench import parse_row
from llamatrix.engines.outcome import SpeedSample
from llamatrix.measure.gpu_sample import GpuSample
from llamatrix.measure.steady import disturbances, is_steady
from llamatrix.measure.telemetry import Telemetry


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
