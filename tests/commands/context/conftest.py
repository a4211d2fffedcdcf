"""`invoke context` against the fake server, with whatever wishes a test has for it."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.invoking import invoked, invoked_apart
from tests.shipped import FAKES

from llamatrix.config.cell import Cell
from llamatrix.project import Project

Run = Callable[..., subprocess.CompletedProcess[str]]
SMOKE = (
    "context",
    "--profile",
    "smoke",
    "--model",
    "gemma4-31b",
    "--max-context",
    "4096",
)


@pytest.fixture
def served(stocked: Project) -> Project:
    """The stocked project, whose llama-server is the fake one."""
    (program,) = (stocked.cache / "builds").glob("*/bin/llama-server")
    fake = FAKES / "context_server.py"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{fake}" "$@"\n')
    return stocked


@pytest.fixture
def environment(invoke_environment: dict[str, str], tmp_path: Path) -> dict[str, str]:
    return {**invoke_environment, "LLAMATRIX_FAKE_LLAMA_STATE": str(tmp_path)}


@pytest.fixture
def wishes_of(cells: tuple[Cell, ...]) -> Callable[..., dict[str, str]]:
    def made(**wishes: object) -> dict[str, str]:
        commit = cells[0].locked.commit[:9]
        return {"LLAMATRIX_FAKE_CONTEXT": json.dumps({"commit": commit, **wishes})}

    return made


@pytest.fixture
def search(
    environment: dict[str, str], wishes_of: Callable[..., dict[str, str]]
) -> Run:
    def run(
        *arguments: str,
        variables: dict[str, str] | None = None,
        **wishes: object,
    ) -> subprocess.CompletedProcess[str]:
        env = {**environment, **wishes_of(**wishes), **(variables or {})}
        run_it = invoked_apart if variables else invoked
        return run_it(*arguments, env=env)

    return run
