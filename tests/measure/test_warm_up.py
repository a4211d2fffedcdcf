"""Warming up: until the card stands still, never longer than allowed, then all ends."""

import json
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from tests.fake_nvml import fake_nvml, without_cards
from tests.measure.gpu_courses import course

from llamatrix.config.cell import Cell
from llamatrix.engines.protocol import Bench
from llamatrix.measure.telemetry import GpuSample, WarmUp
from llamatrix.measure.warm_up import WINDOW_S, is_steady, warm_up

Warm = Callable[..., WarmUp | None]


@pytest.fixture
def warm(
    cells: tuple[Cell, ...],
    fake_program: Callable[[str, str], Path],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Warm:
    """Warm up a fake card with a fake llama-bench that hangs, as a long load does."""
    monkeypatch.setenv("LLAMATRIX_FAKE_BENCH", json.dumps({"fail": {"2048": "hang"}}))

    def run(limit_s: float, library: object) -> WarmUp | None:
        return warm_up(
            Bench(
                program=fake_program("llama-bench", "llama_bench.py"),
                weights=tmp_path / "tiny.gguf",
                commit=cells[0].locked.commit,
                sweep=cells[0].sweep,
                log=tmp_path / "logs" / "cell",
            ),
            limit_s=limit_s,
            library=library,  # type: ignore[arg-type]
        )

    return run


def test_steady_card_ends_the_warm_up_after_one_window(warm: Warm) -> None:
    found = warm(60, fake_nvml())
    assert found
    assert found.steady
    assert WINDOW_S <= found.seconds < 60


def test_unsteady_card_is_reported_at_the_time_limit(warm: Warm) -> None:
    found = warm(0.5, fake_nvml())
    assert found
    assert not found.steady
    assert found.seconds < 30


def test_program_that_ends_at_once_warms_nothing(
    warm: Warm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(
        "LLAMATRIX_FAKE_BENCH", json.dumps({"fail": {"2048": "loading-memory"}})
    )
    found = warm(60, fake_nvml())
    assert found
    assert not found.steady


def test_idle_power_is_reported_where_the_driver_calls_the_card_idle(
    warm: Warm,
) -> None:
    found = warm(0.3, fake_nvml(reasons=1, power_mw=75_000))
    assert found
    assert found.idle_w == 75.0
    assert not found.steady
    busy = warm(0.3, fake_nvml(reasons=0))
    assert busy
    assert busy.idle_w is None


def test_machine_without_a_card_skips_the_warm_up(warm: Warm) -> None:
    assert warm(60, without_cards()) is None


def test_nvml_library_is_closed_after_the_warm_up(warm: Warm) -> None:
    library = fake_nvml()
    warm(0.2, library)
    assert library.open_count == 0


def test_card_with_stable_clock_and_temperature_is_steady() -> None:
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
def test_card_with_drifting_clock_or_temperature_is_not_steady(
    samples: list[GpuSample],
) -> None:
    ordered = sorted(samples, key=lambda one: one.at_s)
    assert not is_steady(ordered)


def test_drift_before_the_window_is_ignored() -> None:
    early = [msgspec.structs.replace(one, celsius=30) for one in course(4)]
    late = [msgspec.structs.replace(one, at_s=one.at_s + 20) for one in course(8)]
    assert is_steady([*early, *late])


def test_idle_card_is_not_steady() -> None:
    idle = [msgspec.structs.replace(one, throttle=("gpu_idle",)) for one in course(8)]
    assert not is_steady(idle)
