"""NVIDIA's library: what a card tells is told, what it does not is absent, never wrong."""

import pytest
from tests.played_nvml import played, without_cards, without_driver

from llamatrix.host import Host
from llamatrix.nvml import open_cards, read_gpus


@pytest.mark.parametrize("library", [None, without_driver(), without_cards()])
def test_without_library_driver_or_card_there_is_no_gpu(library: None) -> None:
    assert read_gpus(library) == ()
    with open_cards(library) as cards:
        assert cards == ()


def test_a_card_is_described_with_its_power_cap() -> None:
    (gpu,) = read_gpus(played(cap_mw=275_000, default_mw=450_000))
    assert (gpu.name, gpu.compute_capability) == ("NVIDIA H200", "9.0")
    assert (gpu.power_cap_w, gpu.power_default_w) == (275.0, 450.0)
    assert gpu.power_cap_text == "power cap 275 W"


def test_a_driver_that_does_not_tell_the_power_cap_is_quoted() -> None:
    (gpu,) = read_gpus(played(without="cap_mw"))
    assert gpu.power_cap_w is None
    assert gpu.power_cap_missing == "Not Supported"
    assert gpu.power_cap_text == "power cap not told (Not Supported)"


def test_the_power_cap_stands_in_the_host_line_of_a_table() -> None:
    host = Host(
        slug="h200-1",
        cpu_model="A CPU",
        physical_cores=8,
        logical_cores=16,
        memory_bytes=2**36,
        kernel="Linux",
        gpus=read_gpus(played()),
    )
    assert "NVIDIA H200 (140 GiB, power cap 700 W)" in host.summary


def test_a_card_that_tells_nothing_of_itself_is_left_out() -> None:
    assert read_gpus(played(without="name")) == ()


def test_the_library_is_closed_again() -> None:
    library = played()
    read_gpus(library)
    assert library.open_count == 0


def test_throttle_reasons_have_names() -> None:
    with open_cards(played(reasons=0x1 | 0x4 | 0x20)) as (card,):
        assert card.throttle_reasons == (
            "gpu_idle",
            "sw_power_cap",
            "sw_thermal_slowdown",
        )
    with open_cards(played(without="reasons")) as (card,):
        assert card.throttle_reasons is None
