"""A project whose cache already holds a build, played by the fake llama-bench."""

import json
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from tests.shipped import FAKES, ROOT

from llamatrix.plan.cell import Cell
from llamatrix.project import Project
from llamatrix.provision.build import TARGETS, manifest_of

RunInvoke = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def stocked(project: Project, cells: tuple[Cell, ...]) -> Project:
    """Source and build of the smoke cells stand in the cache; the build is the fake."""
    cell = cells[0]
    manifest = manifest_of(cell)
    name = f"{cell.pin_key}-{cell.build_key}-{manifest.key}"
    programs = project.cache / "builds" / name / "bin"
    programs.mkdir(parents=True)
    fake = FAKES / "llama_bench.py"
    for target in TARGETS:
        path = programs / target
        path.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{fake}" "$@"\n')
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    (programs.parent / "build.json").write_bytes(msgspec.json.encode(manifest))
    templates = project.cache / "sources" / cell.locked.commit / "models/templates"
    templates.mkdir(parents=True)
    for other in cells:
        (templates / other.model.template).write_text("{{ messages }}")
    return project


@pytest.fixture
def run_invoke(invoke_environment: dict[str, str]) -> RunInvoke:
    """Run a command as a user does, with wishes for the fake llama-bench."""

    def run(*arguments: str, **wishes: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "invoke", *arguments],
            cwd=ROOT,
            env={**invoke_environment, "FAKE_BENCH": json.dumps(wishes)},
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )

    return run


def record_lines(project: Project) -> list[str]:
    files = sorted(Path(project.records).rglob("*.jsonl"))
    return [line for path in files for line in path.read_text().splitlines()]
