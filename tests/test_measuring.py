"""Who excludes whom: by card where a process sees some of a host's cards, else by host."""

import os
import sys
from pathlib import Path

import pytest
from tests.fake_nvml import fake_nvml
from tests.fakes.pynvml import H200

from llamatrix import nvml
from llamatrix.measured_environment import process_conditions
from llamatrix.measuring import LOCKS, measuring, measuring_processes


@pytest.fixture
def locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(LOCKS, str(tmp_path))
    monkeypatch.setitem(sys.modules, "pynvml", fake_nvml(H200, H200))
    return tmp_path


@pytest.mark.parametrize(
    ("visible", "held"),
    [
        ("1", {"card-1"}),
        ("0,1", {"card-0", "card-1", "host"}),
        ("", {"card-0", "card-1", "host"}),
    ],
)
def test_a_process_holds_the_cards_it_sees_and_the_host_where_it_is_not_limited(
    visible: str, held: set[str], locks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with measuring():
        assert {path.stem for path in locks.glob("*.lock")} == held
        assert measuring_processes() == (os.getpid(),)
    assert measuring_processes() == ()


def test_indices_are_the_hosts_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2")
    assert nvml.card_indices(fake_nvml(H200, H200, H200)) == ((2,), 3)
    assert nvml.card_indices(None) == ((), 0)


def test_conditions_are_those_of_measured_programs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("LLAMATRIX_SHARED_MACHINE", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    conditions = process_conditions()
    assert conditions.variables == {"CUDA_VISIBLE_DEVICES": "3"}
    assert conditions.cpus == len(os.sched_getaffinity(0))
