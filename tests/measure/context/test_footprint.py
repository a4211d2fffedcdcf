"""What a server holds: on the host always, on cards as far as they tell."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.measure.context.conftest import SOON

from llamatrix.engines.llama_cpp.server import Serving, running
from llamatrix.engines.protocol import Launch
from llamatrix.measure.context.result import footprint
from llamatrix.measure.telemetry import GpuSample, Telemetry

_GIB = 2**30


@pytest.fixture
def serving(launch: Launch, tmp_path: Path) -> Iterator[Serving]:
    with running(launch, log=tmp_path / "server.log", timeouts=SOON) as ready:
        yield ready


def sample(at_s: float, used: int, *, own: int | None = None) -> GpuSample:
    own_bytes = None if own is None else own * _GIB
    return GpuSample(at_s=at_s, used_bytes=used * _GIB, own_bytes=own_bytes)


def test_footprint_without_a_card_is_host_memory(serving: Serving) -> None:
    held = footprint(serving, Telemetry())
    assert 2**20 < held.rss_bytes <= held.peak_rss_bytes
    assert held.card_bytes is held.card_own_bytes is None
    assert held.held_bytes == held.peak_rss_bytes


def test_footprint_on_a_card_has_current_and_peak_memory(
    serving: Serving,
) -> None:
    telemetry = Telemetry(
        gpu_before=(sample(0, 1),),
        gpu=(
            sample(1, 20, own=18),
            sample(2, 23),
            sample(3, 21, own=19),
        ),
    )
    held = footprint(serving, telemetry)
    assert (held.card_own_bytes, held.card_own_peak_bytes) == (19 * _GIB, 19 * _GIB)
    assert (held.card_bytes, held.card_peak_bytes) == (20 * _GIB, 22 * _GIB)
    assert held.held_bytes == 19 * _GIB
    assert held.disturbances == ()


def test_footprint_with_hidden_processes_is_the_increase_of_the_card(
    serving: Serving,
) -> None:
    held = footprint(
        serving, Telemetry(gpu_before=(sample(0, 1),), gpu=(sample(1, 20),))
    )
    assert held.card_own_bytes is None
    assert held.held_bytes == 19 * _GIB


def test_another_process_on_the_card_is_noticed(serving: Serving) -> None:
    others = GpuSample(at_s=1, used_bytes=0, others=1, other_bytes=3 * _GIB)
    held = footprint(serving, Telemetry(gpu_before=(sample(0, 1),), gpu=(others,)))
    assert held.disturbances == ("other processes on the card: 1, holding 3 GiB",)


def test_footprint_of_two_cards_is_summed(serving: Serving) -> None:
    cards = tuple(
        GpuSample(at_s=1, index=index, used_bytes=(2 + index) * _GIB)
        for index in range(2)
    )
    held = footprint(serving, Telemetry(gpu=cards))
    assert held.card_bytes == 5 * _GIB
