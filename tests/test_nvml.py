"""NVIDIA's library: a value that a card does not report is absent, never wrong."""

import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from tests.fake_nvml import fake_nvml, without_cards, without_driver
from tests.shipped import ROOT

from llamatrix.errors import MeasureError
from llamatrix.host import Host
from llamatrix.nvml import open_cards, read_gpus, read_problem


@pytest.mark.parametrize("library", [None, without_driver(), without_cards()])
def test_no_gpu_without_library_driver_or_card(library: None) -> None:
    assert read_gpus(library) == ()
    with open_cards(library) as cards:
        assert cards == ()


def test_gpu_is_described_with_its_power_cap() -> None:
    (gpu,) = read_gpus(fake_nvml(cap_mw=275_000, default_mw=450_000))
    assert (gpu.name, gpu.compute_capability) == ("NVIDIA H200", "9.0")
    assert (gpu.power_cap_w, gpu.power_default_w) == (275.0, 450.0)
    assert gpu.power_cap_text == "power cap 275 W"


def test_missing_power_cap_quotes_the_driver() -> None:
    (gpu,) = read_gpus(fake_nvml(without="cap_mw"))
    assert gpu.power_cap_w is None
    assert gpu.power_cap_missing == "Not Supported"
    assert gpu.power_cap_text == "power cap not known (Not Supported)"


def test_host_line_of_a_table_contains_the_power_cap() -> None:
    host = Host(
        slug="h200-1",
        cpu_model="A CPU",
        physical_cores=8,
        logical_cores=16,
        memory_bytes=2**36,
        kernel="Linux",
        gpus=read_gpus(fake_nvml()),
    )
    assert "NVIDIA H200 (140 GiB, power cap 700 W)" in host.summary


def test_gpu_that_reports_nothing_is_left_out() -> None:
    assert read_gpus(fake_nvml(without="name")) == ()


def test_nvml_is_shut_down_again() -> None:
    library = fake_nvml()
    read_gpus(library)
    assert library.open_count == 0


def test_throttle_reasons_have_names() -> None:
    with open_cards(fake_nvml(reasons=0x1 | 0x4 | 0x20)) as (card,):
        assert card.throttle_reasons == (
            "gpu_idle",
            "sw_power_cap",
            "sw_thermal_slowdown",
        )
    with open_cards(fake_nvml(without="reasons")) as (card,):
        assert card.throttle_reasons is None


def _machine(*names: str) -> ModuleType:
    """Return a library with cards of these names and UUIDs GPU-a, GPU-b and so on."""
    return fake_nvml(
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
def test_gpus_hidden_from_programs_are_hidden_here(
    monkeypatch: pytest.MonkeyPatch, asked: str, seen: list[int]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", asked)
    with open_cards(_machine(*["RTX 4090"] * 3)) as cards:
        assert [card.index for card in cards] == seen


def test_gpu_index_among_unlike_gpus_needs_a_device_order(
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


_MISMATCH = """
int nvmlInit_v2(void) { return 18; }
int nvmlInitWithFlags(unsigned int flags) { return 18; }
int nvmlShutdown(void) { return 1; }
const char *nvmlErrorString(int code) { return "Driver/library version mismatch"; }
"""
"""NVIDIA's library on a machine that was not rebooted after a driver update."""


@pytest.mark.parametrize(
    ("code", "card_on_bus", "remedy"),
    [
        (18, False, "Driver/library version mismatch; reboot, or reload the kernel"),
        (4, False, "give this user access to /dev/nvidia*"),
        (999, False, "`nvidia-smi` should list it"),
        (9, True, "sudo modprobe nvidia"),
        (12, True, "install NVIDIA's driver"),
    ],
)
def test_driver_that_does_not_answer_has_a_remedy(
    code: int, remedy: str, *, card_on_bus: bool
) -> None:
    said = read_problem(without_driver(code), card_on_bus=card_on_bus)
    assert said.startswith("a card is here, but its driver does not answer: ")
    assert remedy in said


def test_gpu_without_nvml_is_reported() -> None:
    assert "no NVIDIA library" in read_problem(None, card_on_bus=True)


@pytest.mark.parametrize("library", [None, without_driver(9), without_driver(12)])
def test_machine_without_gpu_has_no_driver_problem(library: None) -> None:
    assert not read_problem(library, card_on_bus=False)


def test_working_driver_has_no_problem_and_is_closed() -> None:
    library = fake_nvml()
    assert not read_problem(library, card_on_bus=True)
    assert library.open_count == 0


@pytest.mark.skipif(shutil.which("gcc") is None, reason="builds a library")
def test_driver_mismatch_is_not_reported_as_missing_gpu(
    tmp_path: Path, invoke_environment: dict[str, str]
) -> None:
    """ollama/ollama#15918, abysssol/ollama-flake#4."""
    (tmp_path / "nvml.c").write_text(_MISMATCH)
    library = tmp_path / "libnvidia-ml.so.1"
    subprocess.run(
        ["gcc", "-shared", "-o", str(library), str(tmp_path / "nvml.c")], check=True
    )

    def invoke(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "invoke", *words],
            cwd=ROOT,
            env=invoke_environment | {"LD_LIBRARY_PATH": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    lines = invoke("doctor").stdout.splitlines()
    for subject in ("GPU", "driver", "VRAM"):
        (line,) = (one for one in lines if one.split()[0] == subject)
        assert "Driver/library version mismatch: reboot" in line
    ended = invoke("all")
    assert ended.returncode == 3
    (line,) = ended.stderr.splitlines()
    assert "Driver/library version mismatch; reboot" in line
    assert "--profile smoke" in line
