"""Two pins whose builds are the fake llama-bench, each with its own commit and name."""

import json
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from tests.invoking import invoked
from tests.shipped import FAKES, shipped_cells

from llamatrix.config.cell import Cell
from llamatrix.project import Project
from llamatrix.provision.build import TARGETS, manifest_of
from llamatrix.provision.integrity import record_entry
from llamatrix.provision.weights.provide import SAMPLES

Regress = Callable[..., subprocess.CompletedProcess[str]]

ONE_CELL = "*qwen35-27b*"
_FAKES = dict.fromkeys(TARGETS, "llama_bench.py") | {"llama-server": "llama_server.py"}


def stock(project: Project, cell: Cell) -> None:
    """Put a finished build of the cell into the cache, played by the fake."""
    manifest = manifest_of(cell)
    name = f"{cell.pin_key}-{cell.build_key}-{manifest.key}"
    programs = project.cache / "builds" / name / "bin"
    programs.mkdir(parents=True)
    for target in TARGETS:
        path = programs / target
        path.write_text(
            f"#!/bin/sh\nexport FAKE_PIN={cell.pin_key} "
            f"FAKE_COMMIT={cell.locked.commit[:9]}\n"
            f'exec "{sys.executable}" "{FAKES / _FAKES[target]}" "$@"\n'
        )
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    (programs.parent / "build.json").write_bytes(msgspec.json.encode(manifest))


def source_of(project: Project, cell: Cell) -> Path:
    return project.cache / "sources" / cell.locked.commit


@pytest.fixture
def pins(project: Project) -> Project:
    """Both pins of the `engines` profile are built; templates stand in the sources."""
    for cell in shipped_cells("engines"):
        templates = source_of(project, cell) / "models" / "templates"
        templates.mkdir(parents=True, exist_ok=True)
        (templates / cell.model.template).write_text("{{ messages }}")
        for name in SAMPLES:
            sample = source_of(project, cell) / name
            sample.parent.mkdir(parents=True, exist_ok=True)
            sample.write_text("the words of a vocabulary, the words of a text\n")
    for cell in shipped_cells("engines"):
        record_entry(source_of(project, cell), origin=cell.locked.nar_hash)
    for cell in shipped_cells("engines")[::4]:
        stock(project, cell)
    return project


@pytest.fixture
def regress(invoke_environment: dict[str, str]) -> Regress:
    """Run `invoke regress april current` on one model, with wishes for the fakes.

    However busy this machine is: no pair is disturbed unless a test says so.
    """

    def run(*arguments: str, **wishes: object) -> subprocess.CompletedProcess[str]:
        env = {**invoke_environment, "LLAMATRIX_FAKE_BENCH": json.dumps(wishes)}
        return invoked(*regress_words(*arguments), env=env)

    return run


def regress_argv(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "invoke", *regress_words(*arguments)]


def regress_words(*arguments: str) -> list[str]:
    """Flags given later win over those that every test shares."""
    flags = {
        "--baseline": "april",
        "--candidate": "current",
        "--profile": "engines",
        "--cells": ONE_CELL,
        "--max-background-load": "100",
    }
    given = list(arguments)
    shared = [
        word
        for name, value in flags.items()
        if name not in given
        for word in (name, value)
    ]
    return ["regress", *shared, *given]


def ledger_lines(project: Project) -> list[dict[str, object]]:
    paths = sorted((project.reports / "regress").rglob("*.jsonl"))
    return [
        json.loads(line) for path in paths for line in path.read_text().splitlines()
    ]


def forget_build(project: Project, pin: str) -> None:
    """Leave the pin a source that CMake refuses, and no build."""
    for folder in (project.cache / "builds").glob(f"{pin}-*"):
        folder.rename(project.cache / f"gone-{folder.name}")
    for cell in shipped_cells("engines"):
        if cell.pin_key == pin:
            assert not (source_of(project, cell) / "CMakeLists.txt").exists()
