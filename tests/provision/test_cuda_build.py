"""A build for the card of this machine, and the note of a source tree."""

import sys
from collections.abc import Iterator

import msgspec
import pytest
from tests.fake_nvml import fake_nvml
from tests.shipped import shipped_cells

from llamatrix.config.cell import Cell
from llamatrix.nvml import gpus
from llamatrix.project import Project
from llamatrix.provision.build import TARGETS, manifest_of, provide_build
from llamatrix.provision.source import NOTE, nar_hash


@pytest.fixture
def h200(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fake a card in this machine."""
    monkeypatch.setitem(sys.modules, "pynvml", fake_nvml())
    gpus.cache_clear()
    yield
    gpus.cache_clear()


@pytest.mark.usefixtures("h200")
def test_no_named_capability_means_that_of_the_card_here() -> None:
    cell = shipped_cells("gpu-proof")[0]
    assert manifest_of(cell).cmake["CMAKE_CUDA_ARCHITECTURES"] == "90-real"


def test_another_card_is_another_build(monkeypatch: pytest.MonkeyPatch) -> None:
    cell = shipped_cells("gpu-proof")[0]
    keys = set()
    for capability in ((9, 0), (8, 9)):
        monkeypatch.setitem(sys.modules, "pynvml", fake_nvml(capability=capability))
        gpus.cache_clear()
        keys.add(manifest_of(cell).key)
    gpus.cache_clear()
    assert len(keys) == 2


def test_source_note_is_in_every_record_of_the_build(
    project: Project, cells: tuple[Cell, ...]
) -> None:
    cell = cells[0]
    tree = project.cache / "sources" / cell.locked.commit
    tree.mkdir(parents=True)
    targets = "\n".join(
        f"add_executable({name} main.cpp)\n"
        f"set_target_properties({name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY bin)"
        for name in TARGETS
    )
    (tree / "CMakeLists.txt").write_text(
        f"cmake_minimum_required(VERSION 3.14)\nproject(p C CXX)\n{targets}\n"
    )
    (tree / "main.cpp").write_text("int main() {}\n")
    locked = msgspec.structs.replace(cell.locked, nar_hash=nar_hash(tree))
    cell = msgspec.structs.replace(cell, locked=locked)
    (tree / NOTE).write_text("carried here\n")
    first = provide_build(cell, project.cache)
    assert first.manifest.source_note == "carried here"
    assert provide_build(cell, project.cache).manifest == first.manifest
    assert first.manifest.key == manifest_of(cell).key


def test_manifest_from_before_the_note_is_readable(cells: tuple[Cell, ...]) -> None:
    raw = msgspec.to_builtins(manifest_of(cells[0]))
    del raw["source_note"]
    assert msgspec.convert(raw, type=type(manifest_of(cells[0]))).source_note == ""
