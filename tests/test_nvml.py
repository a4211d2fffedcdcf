"""NVIDIA's library: what a card tells is told, what it does not is absent, never wrong."""

from types import ModuleType

import pytest
from tests.played_nvml import played, without_cards, without_driver

from llamatrix.errors import MeasureError
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


def _machine(*names: str) -> ModuleType:
    """A card of each name; their UUIDs begin with GPU-a, GPU-b and so on."""
    return played(
        *(
            {"name": name, "uuid": f"GPU-{letter}1f", "memory": 2**34}
            for name, letter in zip(names, "abcdefgh", strict=False)
        )
    )


@pytest.mark.parametrize(
    ("asked", "seen"),
    [
        ("1", [1]),
        ("2,0", [2, 0]),
        ("GPU-b", [1]),
        ("GPU-b1f, 2", [1, 2]),
        ("0,9,1", [0]),
        ("GPU-", []),
        ("-1", []),
        ("", []),
    ],
)
def test_cards_hidden_from_the_programs_are_hidden_here(
    monkeypatch: pytest.MonkeyPatch, asked: str, seen: list[int]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", asked)
    with open_cards(_machine(*["RTX 4090"] * 3)) as cards:
        assert [card.index for card in cards] == seen


def test_a_number_among_unlike_cards_needs_their_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    library = _machine("RTX 3060", "RTX 4090")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.delenv("CUDA_DEVICE_ORDER", raising=False)
    with pytest.raises(MeasureError, match="CUDA_DEVICE_ORDER=PCI_BUS_ID"):
        read_gpus(library)
    assert library.open_count == 0

    monkeypatch.setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    with open_cards(library) as (card,):
        assert card.name == "RTX 3060"

    monkeypatch.delenv("CUDA_DEVICE_ORDER")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-b")
    with open_cards(library) as (card,):
        assert card.name == "RTX 4090"
