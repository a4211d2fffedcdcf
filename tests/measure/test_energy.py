"""Energy: joules of the repetitions alone, from the counter, else from power."""

import msgspec
import pytest
from tests.records.made import made_row

from llamatrix.config.cell import SpeedTest
from llamatrix.engines.llama_cpp.llama_bench import parse_row
from llamatrix.engines.outcome import SpeedSample
from llamatrix.measure.energy import EnergySource, energy_of, energy_of_all, idle_w
from llamatrix.measure.telemetry import (
    GpuSample,
    Telemetry,
    held_bytes,
    samples_of_test,
)

GENERATION = SpeedTest(n_prompt=0, n_gen=100)


def row(seconds: float, test: SpeedTest = GENERATION) -> SpeedSample:
    """Two repetitions with this total duration."""
    tokens = test.n_prompt or test.n_gen
    return parse_row(made_row(test, (2 * tokens / seconds,) * 2))


def counted(*points: tuple[float, float], index: int = 0) -> list[GpuSample]:
    """Samples at these seconds with these joules on the counter."""
    return [
        GpuSample(at_s=at_s, index=index, energy_mj=round(joules * 1000))
        for at_s, joules in points
    ]


def powered(*points: tuple[float, float]) -> list[GpuSample]:
    return [GpuSample(at_s=at_s, power_w=watts) for at_s, watts in points]


def test_energy_covers_the_repetitions_only() -> None:
    samples = counted((0, 0), (6, 5000), (8, 5400), (10, 5800))
    found = energy_of(Telemetry(gpu=tuple(samples)), row(4))
    assert found
    assert found.joules == pytest.approx(800)
    assert found.tokens == 200
    assert found.joules_per_token == pytest.approx(4)
    assert found.mean_w == pytest.approx(200)
    assert found.source is EnergySource.COUNTER


def test_begin_is_interpolated_between_two_samples() -> None:
    samples = counted((0, 0), (7, 700), (9, 1100), (10, 1200))
    found = energy_of(Telemetry(gpu=tuple(samples)), row(2))
    assert found
    assert found.joules == pytest.approx(1200 - 900)


def test_test_without_warm_up_begins_at_the_previous_result() -> None:
    """As tg128: its first own sample comes up to a second after it began."""
    telemetry = Telemetry(
        gpu_begin=tuple(counted((3.8, 0))), gpu=tuple(counted((4.8, 300), (10, 2300)))
    )
    found = energy_of(telemetry, row(6))
    assert found
    assert found.joules == pytest.approx(2300 - 60)
    assert energy_of(Telemetry(gpu=telemetry.gpu), row(6)) is None


def test_prompt_test_counts_prompt_tokens() -> None:
    samples = counted((0, 0), (10, 1000))
    test = SpeedTest(n_prompt=512, n_gen=0)
    found = energy_of(Telemetry(gpu=tuple(samples)), row(5, test))
    assert found
    assert found.tokens == 1024


def test_power_is_integrated_without_an_energy_counter() -> None:
    samples = powered((0, 0), (6, 100), (8, 300), (10, 300))
    found = energy_of(Telemetry(gpu=tuple(samples)), row(4))
    assert found
    assert found.joules == pytest.approx(2 * 200 + 2 * 300)
    assert found.source is EnergySource.POWER


def test_all_cards_are_summed() -> None:
    samples = [*counted((0, 0), (10, 1000)), *counted((0, 50), (10, 550), index=1)]
    found = energy_of(Telemetry(gpu=tuple(samples)), row(10))
    assert found
    assert found.joules == pytest.approx(1500)


@pytest.mark.parametrize(
    "samples",
    [
        [],
        [GpuSample(at_s=0), GpuSample(at_s=10)],
        counted((8, 0), (10, 100)),
        counted((0, 100), (10, 100)),
    ],
    ids=["no gpu", "nothing told", "samples begin too late", "counter stands still"],
)
def test_unknown_disturbances_are_not_reported(samples: list[GpuSample]) -> None:
    assert energy_of(Telemetry(gpu=tuple(samples)), row(4)) is None


def test_test_shorter_than_a_second_has_no_energy() -> None:
    samples = counted((0, 0), (10, 1000))
    assert energy_of(Telemetry(gpu=tuple(samples)), row(0.9)) is None
    assert energy_of(Telemetry(gpu=tuple(samples)), row(1.1)) is not None


def test_idle_power_sums_idle_samples_of_all_cards() -> None:
    idle = ("gpu_idle",)
    samples = [
        GpuSample(at_s=0, power_w=60, throttle=idle),
        GpuSample(at_s=1, power_w=80, throttle=idle),
        GpuSample(at_s=2, power_w=500, throttle=()),
        GpuSample(at_s=0, index=1, power_w=30, throttle=idle),
    ]
    assert idle_w(samples) == pytest.approx(100)
    assert idle_w(samples[2:3]) is None
    assert idle_w([]) is None


def test_total_energy_spans_first_to_last_sample() -> None:
    begun, later = powered((1, 100)), powered((3, 300), (5, 300))
    found = energy_of_all(Telemetry(gpu_begin=tuple(begun), gpu=tuple(later)))
    assert found
    assert (found.joules, found.seconds) == (2 * 200 + 2 * 300, 4)
    assert found.source is EnergySource.POWER
    assert energy_of_all(Telemetry()) is None
    assert energy_of_all(Telemetry(gpu=tuple(powered((1, 100), (1.5, 100))))) is None


def test_memory_is_the_peak_during_the_repetitions() -> None:
    held = (9, 3, 4, None)
    samples = tuple(
        GpuSample(at_s=second, own_bytes=count) for second, count in enumerate(held)
    )
    telemetry = Telemetry(gpu=samples)
    assert held_bytes(telemetry, row(2.0)) == 4
    assert held_bytes(telemetry, None) == 9
    assert held_bytes(Telemetry(), row(2.0)) is None


def test_requests_of_a_server_have_no_window_of_their_own() -> None:
    """Prompts and answers alternate, so the answers' time is not one stretch."""
    sample = msgspec.structs.replace(row(4), client_ns=(3 * 10**9,) * 2)
    telemetry = Telemetry(gpu=tuple(counted((0, 0), (6, 5000), (10, 5800))))
    assert energy_of(telemetry, sample) is None
    assert samples_of_test(telemetry, sample) == telemetry.gpu
