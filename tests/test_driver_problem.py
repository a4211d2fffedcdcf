"""A card whose driver does not answer is told apart from a machine without a card."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.played_nvml import played, without_driver
from tests.shipped import ROOT

from llamatrix.driver_problem import read_problem

_MISMATCH = """
int nvmlInit_v2(void) { return 18; }
int nvmlInitWithFlags(unsigned int flags) { return 18; }
int nvmlShutdown(void) { return 1; }
const char *nvmlErrorString(int code) { return "Driver/library version mismatch"; }
"""
"""NVIDIA's library on a machine whose driver was updated and that was not rebooted."""


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
def test_a_driver_that_does_not_answer_has_a_remedy(
    code: int, remedy: str, *, card_on_bus: bool
) -> None:
    said = read_problem(without_driver(code), card_on_bus=card_on_bus)
    assert said.startswith("a card is here, but its driver does not answer: ")
    assert remedy in said


def test_a_card_without_any_library_is_told() -> None:
    assert "no NVIDIA library" in read_problem(None, card_on_bus=True)


@pytest.mark.parametrize("library", [None, without_driver(9), without_driver(12)])
def test_a_machine_without_a_card_has_no_problem(library: None) -> None:
    assert not read_problem(library, card_on_bus=False)


def test_a_driver_that_answers_has_no_problem_and_is_closed() -> None:
    library = played()
    assert not read_problem(library, card_on_bus=True)
    assert library.open_count == 0


@pytest.mark.skipif(shutil.which("gcc") is None, reason="builds a library")
def test_a_mismatch_is_not_taken_for_a_machine_without_a_card(
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
