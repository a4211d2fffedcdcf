"""Projects whose cells a cluster measures, played by the fake llama-bench."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.commands.conftest import stocked
from tests.fakes.pynvml import H200
from tests.shipped import FAKES, ROOT

from llamatrix.measuring import LOCKS
from llamatrix.project import Project

__all__ = ["stocked"]
CELLS, TESTS, PROCESSES = 4, 4, 2
"""Of the smoke profile."""
_ON_CARDS = """
[pins.fake]
binaries = "{programs}"

[builds.card]
backend = "cuda"

[profiles.cards]
about = "cells on fake cards"
pins = ["fake"]
builds = ["card"]
models = ["qwen35-27b", "qwen35-35b-a3b", "gemma4-26b-a4b", "gemma4-31b"]
weights = "tiny"
measure = ["speed"]
sweep = "smoke"
"""


@dataclass(frozen=True, kw_only=True)
class Box:
    """A host of a test: its environment, in a project that all share."""

    project: Project
    environment: dict[str, str]

    def with_cards(self, count: int) -> "Box":
        cards = {"FAKE_NVML": json.dumps([H200] * count), "PYTHONPATH": str(FAKES)}
        return Box(project=self.project, environment={**self.environment, **cards})

    def wishing(self, **wishes: object) -> "Box":
        env = {**self.environment, "LLAMATRIX_FAKE_BENCH": json.dumps(wishes)}
        return Box(project=self.project, environment=env)

    def records(self) -> list[dict[str, dict[str, object]]]:
        return [
            json.loads(line)
            for path in sorted(self.project.records.rglob("*.jsonl"))
            if "trajectories" not in path.parts
            for line in path.read_text().splitlines()
        ]


@pytest.fixture
def box(
    stocked: Project,
    invoke_environment: dict[str, str],
    tmp_path: Path,
) -> Box:
    """The stocked project; a profile `cards` measures on fake cards."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("llama-bench", "llama-server"):
        path = programs / name
        fake = FAKES / "llama_bench.py"
        path.write_text(
            '#!/bin/sh\n[ "$1" = --help ] && echo "usage: a fake" && exit\n'
            f'exec "{sys.executable}" "{fake}" "$@"\n'
        )
        path.chmod(0o755)
    with stocked.matrix_file.open("a") as matrix:
        matrix.write(_ON_CARDS.format(programs=programs))
    env = {**invoke_environment, LOCKS: str(tmp_path / "locks")}
    env["PYTHONPATH"] = str(ROOT / "scripts")
    return Box(project=stocked, environment=env)
