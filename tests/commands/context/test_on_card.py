"""A CUDA build on a played card: all of it on the card, and neighbours noticed."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.commands.conftest import record_lines
from tests.commands.context.conftest import SMOKE, Run
from tests.shipped import FAKES, ROOT

from llamatrix.project import Project

_PROFILE = """
[profiles.card]
about = "tiny synthetic weights on the card of this machine"
pins = ["current"]
builds = ["cuda-here"]
models = ["gemma4-31b"]
weights = "tiny"
measure = ["speed"]
sweep = "smoke"
server = "smoke"
"""
_CARD = {
    "name": "NVIDIA GeForce RTX 4090",
    "memory": 24 * 2**30,
    "used": 4 * 2**30,
    "capability": [8, 9],
    "processes": [[1, 3 * 2**30]],
}
_MANIFEST = """
import msgspec
from tests.shipped import shipped_cells
from llamatrix.provision.build import manifest_of

print(msgspec.json.encode(manifest_of(shipped_cells("gpu-proof")[0])).decode())
"""
SEARCH = ("context", "--profile", "card", "--max-context", "4096")


@pytest.fixture
def card(served: Project, tmp_path: Path) -> dict[str, str]:
    """A profile, a build and an nvcc for it, and the library that plays the card."""
    with served.matrix_file.open("a") as matrix:
        matrix.write(_PROFILE)
    nvcc = tmp_path / "tools" / "nvcc"
    nvcc.parent.mkdir()
    nvcc.write_text("#!/bin/sh\necho 'NVIDIA (R) Cuda release 13.0, V13.0.88'\n")
    nvcc.chmod(0o755)
    variables = {
        "PATH": f"{nvcc.parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(FAKES),
        "FAKE_NVML": json.dumps([_CARD]),
    }
    told = subprocess.run(
        [sys.executable, "-c", _MANIFEST],
        cwd=ROOT,
        env={
            **os.environ,
            **variables,
            "PYTHONPATH": f"{FAKES}:{ROOT}:{ROOT / 'scripts'}",
        },
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    (stocked,) = (served.cache / "builds").iterdir()
    name = f"current-cuda-here-{json.loads(told)['key']}"
    folder = stocked.rename(stocked.with_name(name))
    (folder / "build.json").write_text(told)
    return variables


def test_search_loads_all_layers_to_the_card_and_reports_other_processes(
    served: Project, card: dict[str, str], search: Run
) -> None:
    ended = search(*SEARCH, variables=card)
    assert ended.returncode == 0, ended.stderr
    assert "(24 GiB): 20 GiB to use" in ended.stderr
    assert "others hold 3 GiB of it: less fits" in ended.stderr
    assert "- memory: 20 GiB of the card to use (others held 3 GiB)" in ended.stdout
    disturbed = "- disturbed: other processes on the card: 1, holding 3 GiB"
    assert disturbed in ended.stdout
    (line,) = record_lines(served)
    record = json.loads(line)
    words = " ".join(record["argv"])
    assert "--n-gpu-layers 99" in words
    assert "--fit off" in words
    assert record["found"]["rungs"][0]["footprint"]["card_bytes"] == 0


@pytest.mark.parametrize(
    ("wishes", "words"),
    [
        (
            {"spills_at": 1},
            "spilled out of VRAM (only 12 of 65 layers are on the card)",
        ),
        ({"splits": 34}, "doubtful: the graph is split 34 times"),
    ],
)
def test_layers_that_left_the_card_are_reported(
    card: dict[str, str], search: Run, wishes: dict[str, object], words: str
) -> None:
    ended = search(*SEARCH, variables=card, **wishes)
    assert words in ended.stdout + ended.stderr


def test_vram_limit_below_the_card_is_kept(
    card: dict[str, str], search: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    ended = search(*SEARCH, "--vram", "8GiB", variables=card)
    assert ended.returncode == 0, ended.stderr
    assert "cut to 8 GiB: 8 GiB to use" in ended.stderr


def test_server_without_the_card_is_counted_by_the_hosts_memory(
    served: Project, search: Run
) -> None:
    card = {"PYTHONPATH": str(FAKES), "FAKE_NVML": json.dumps([_CARD])}
    ended = search(*SMOKE, variables=card)
    assert ended.returncode == 0, ended.stderr
    (line,) = record_lines(served)
    footprint = json.loads(line)["found"]["rungs"][0]["footprint"]
    assert footprint["peak_rss_bytes"] > 0
    assert "card_bytes" not in footprint
