"""Warming up: until the card stands still, never longer than allowed, then all ends."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.played_nvml import played, without_cards

from llamatrix.config.cell import Cell
from llamatrix.measure import disturbances
from llamatrix.measure.telemetry import WarmUp
from llamatrix.measure.warm_up import warm_up

Warm = Callable[..., WarmUp | None]


@pytest.fixture
def warm(
    cells: tuple[Cell, ...],
    fake_program: Callable[[str, str], Path],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Warm:
    """Warm up a played card with a fake llama-bench that hangs, as a long load does."""
    monkeypatch.setenv("LLAMATRIX_FAKE_BENCH", json.dumps({"fail": {"2048": "hang"}}))

    def run(limit_s: float, library: object) -> WarmUp | None:
        return warm_up(
            fake_program("llama-bench", "llama_bench.py"),
            tmp_path / "tiny.gguf",
            cells[0].sweep,
            limit_s=limit_s,
            library=library,  # type: ignore[arg-type]
        )

    return run


def test_a_card_that_stands_still_is_steady_after_one_window(warm: Warm) -> None:
    found = warm(60, played())
    assert found
    assert found.steady
    assert disturbances.WINDOW_S <= found.seconds < 60


def test_the_time_is_bounded_and_a_restless_card_is_told(warm: Warm) -> None:
    found = warm(0.5, played())
    assert found
    assert not found.steady
    assert found.seconds < 30


def test_a_program_that_never_works_warms_nothing(
    warm: Warm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(
        "LLAMATRIX_FAKE_BENCH", json.dumps({"fail": {"2048": "loading-memory"}})
    )
    found = warm(60, played())
    assert found
    assert not found.steady


def test_idle_power_is_told_where_the_driver_calls_the_card_idle(warm: Warm) -> None:
    found = warm(0.3, played(reasons=1, power_mw=75_000))
    assert found
    assert found.idle_w == 75.0
    assert not found.steady
    busy = warm(0.3, played(reasons=0))
    assert busy
    assert busy.idle_w is None


def test_without_a_card_nothing_is_warmed(warm: Warm) -> None:
    assert warm(60, without_cards()) is None


def test_the_library_is_closed_again(warm: Warm) -> None:
    library = played()
    warm(0.2, library)
    assert library.open_count == 0
