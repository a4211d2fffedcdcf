"""A project whose cache already holds a build, played by the fake llama-bench."""

import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from tests.invoking import invoked
from tests.mini_gguf import F16, gguf_bytes
from tests.provision.weights.hub_stub import HubStub, serve_hub_stub
from tests.shipped import FAKES, ROOT

from llamatrix.config.cell import Cell
from llamatrix.config.load import load_matrix
from llamatrix.config.lock import load_lock
from llamatrix.project import Project
from llamatrix.provision.build import TARGETS, manifest_of
from llamatrix.provision.integrity import record_entry
from llamatrix.provision.resolve import write_lock
from llamatrix.provision.weights.provide import SAMPLES

RunInvoke = Callable[..., subprocess.CompletedProcess[str]]

MODEL = "qwen35-27b"
CONTENT, OTHER_CONTENT = (
    gguf_bytes(
        {"general.architecture": "qwen35", "general.name": name},
        [("token_embd.weight", [64, 64], F16)],
    )
    for name in ("the published weights", "the weights of another day")
)
_PROFILE = """
[profiles.hub]
about = "the published file of one model on a CPU"
pins = ["current"]
builds = ["cpu"]
models = ["qwen35-27b"]
weights = "hub"
measure = ["speed"]
sweep = "smoke"
server = "smoke"
"""


@pytest.fixture
def stocked(project: Project, cells: tuple[Cell, ...]) -> Project:
    """Source and build of the smoke cells stand in the cache; the build is the fake.

    Agent cells are left out of the profile: they have tests of their own.
    """
    text = project.matrix_file.read_text()
    exclude = 'exclude = ["agent/qwen35-35b-a3b*", "agent/gemma4*"]'
    assert text.count(exclude) == 1
    project.matrix_file.write_text(text.replace(exclude, 'exclude = ["agent/*"]'))
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
    tree = project.cache / "sources" / cell.locked.commit
    templates = tree / "models/templates"
    templates.mkdir(parents=True)
    for other in cells:
        (templates / other.model.template).write_text("{{ messages }}")
    for name in SAMPLES:
        sample = tree / name
        sample.parent.mkdir(parents=True, exist_ok=True)
        sample.write_text("the words of a vocabulary, the words of a text\n")
    record_entry(tree, origin=cell.locked.nar_hash)
    return project


_STORES = (
    *("builds", "hashes", "logs", "npm", "programs", "sdists", "sources"),
    *("templates", "uv", "weights", "wheels", "work"),
)


@pytest.fixture(scope="session")
def own_cache(
    user_cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """The user's cache by links: whatever else a command writes is a test's own."""
    folder = tmp_path_factory.mktemp("cache")
    for name in _STORES:
        (user_cache / name).mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to(user_cache / name)
    yield folder
    made = [path.name for path in folder.iterdir() if path.is_dir()]
    assert set(made) == set(_STORES), "a store of the cache is missing above"


@pytest.fixture
def real_project(project: Project, own_cache: Path) -> Project:
    """Records of its own, the shipped templates and locks, what is built once."""
    for name in ("templates", "nix/context7", "nix/pi"):
        shutil.copytree(ROOT / name, project.root / name)
    return Project(root=project.root, cache=own_cache)


@pytest.fixture
def real_environment(real_project: Project) -> dict[str, str]:
    """The environment in which a command of ours works on `real_project`."""
    return {
        **os.environ,
        "LLAMATRIX_ROOT": str(real_project.root),
        "LLAMATRIX_CACHE": str(real_project.cache),
    }


@pytest.fixture
def run_invoke(invoke_environment: dict[str, str]) -> RunInvoke:
    """Run a command as a user does, with wishes for the fake llama-bench."""

    def run(*arguments: str, **wishes: object) -> subprocess.CompletedProcess[str]:
        env = {**invoke_environment, "LLAMATRIX_FAKE_BENCH": json.dumps(wishes)}
        return invoked(*arguments, env=env)

    return run


@pytest.fixture
def asking(stocked: Project) -> Project:
    """A stocked project with a profile that needs a published file, unresolved."""
    with stocked.matrix_file.open("a") as matrix:
        matrix.write(_PROFILE)
    lock = load_lock(stocked.lock_file)
    lock.weights.clear()
    write_lock(lock, stocked.lock_file)
    return stocked


@pytest.fixture
def hub(
    asking: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[HubStub]:
    """A hub that has the model's file."""
    model = load_matrix(asking.matrix_file).models[MODEL]
    with serve_hub_stub() as standin:
        standin.publish(CONTENT, repository=model.repository, file=model.file)
        monkeypatch.setenv("HF_ENDPOINT", standin.endpoint)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
        monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
        yield standin


def record_lines(project: Project) -> list[str]:
    files = sorted(Path(project.records).rglob("*.jsonl"))
    files = [path for path in files if "trajectories" not in path.parts]
    return [line for path in files for line in path.read_text().splitlines()]
