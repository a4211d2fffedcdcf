"""Builds with a real compiler on a small source: made once, complete or not at all."""

import json
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from tests.provision.conftest import Index

from llamatrix.config.cell import Cell
from llamatrix.errors import ProvisionError
from llamatrix.provision.build import (
    BATCHED_BENCH,
    RECIPE_VERSION,
    TARGETS,
    manifest_of,
    provide_build,
)
from llamatrix.provision.compiler import compile_environment
from llamatrix.provision.integrity import file_sha256
from llamatrix.provision.source import provide_source

_CMAKE = """
cmake_minimum_required(VERSION 3.14)
project(engine C CXX)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
foreach(name %s)
  add_executable(${name} main.cpp)
  target_compile_definitions(${name} PRIVATE COMMIT="${LLAMA_BUILD_COMMIT}")
endforeach()
"""
_MAIN = '#include <cstdio>\nint main() { std::puts("commit " COMMIT); }\n'

Source = Callable[[str], Cell]


@pytest.fixture
def source(index: Index, cells: tuple[Cell, ...]) -> Source:
    """A cell of the smoke profile whose pin is a small program on the index."""

    def make(main: str) -> Cell:
        (index.tree / "CMakeLists.txt").write_text(
            _CMAKE % " ".join((*TARGETS, BATCHED_BENCH))
        )
        (index.tree / "main.cpp").write_text(main)
        index.renew()
        return msgspec.structs.replace(cells[0], locked=index.publish())

    return make


def test_programs_and_manifest_are_built_once(source: Source, tmp_path: Path) -> None:
    from llamatrix import shell

    cell = source(_MAIN)
    built = provide_build(cell, tmp_path / "cache")
    ended = shell.run([str(built.program("llama-bench"))], timeout_s=30)
    assert ended.out == f"commit {cell.locked.commit[:9]}\n"
    kept = json.loads((built.folder / "build.json").read_text())
    assert kept["commit"] == cell.locked.commit
    assert kept["cmake"]["GGML_NATIVE"] == "OFF"
    before = built.program("llama-bench").stat().st_mtime_ns
    again = provide_build(cell, tmp_path / "cache")
    assert again.program("llama-bench").stat().st_mtime_ns == before


def test_flipped_bit_in_a_program_is_named_and_the_build_made_again(
    source: Source, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cell = source(_MAIN)
    for name in TARGETS:
        program = provide_build(cell, tmp_path / "cache").program(name)
        before, content = file_sha256(program), bytearray(program.read_bytes())
        content[len(content) // 2] ^= 1
        program.write_bytes(content)
        after = file_sha256(program)
        provide_build(cell, tmp_path / "cache")
        assert file_sha256(program) != after
        stderr = capsys.readouterr().err
        assert f"{name}: sha256 is {after}, but {before} was recorded" in stderr


def test_program_changed_after_it_was_provided_is_refused(
    source: Source, tmp_path: Path
) -> None:
    """As during a long run."""
    built = provide_build(source(_MAIN), tmp_path / "cache")
    program = built.program("llama-bench")
    before = file_sha256(program)
    with program.open("ab") as opened:
        opened.write(b"!")
    with pytest.raises(ProvisionError) as caught:
        built.program("llama-server")
    assert f"sha256 is {file_sha256(program)}, but {before}" in str(caught.value)


def test_wrong_nar_hash_in_the_lock_stops_before_anything_is_compiled(
    source: Source, tmp_path: Path
) -> None:
    """Though the tree of the commit is in the cache already."""
    cell = source(_MAIN)
    provide_source(cell.locked, tmp_path / "cache")
    wrong = "sha256-" + "A" * 43 + "="
    locked = msgspec.structs.replace(cell.locked, nar_hash=wrong)
    with pytest.raises(ProvisionError) as caught:
        provide_build(msgspec.structs.replace(cell, locked=locked), tmp_path / "cache")
    assert wrong in str(caught.value)
    assert cell.locked.nar_hash in str(caught.value)
    assert not (tmp_path / "cache" / "work").exists()
    assert not (tmp_path / "cache" / "logs").exists()


def test_build_from_before_digests_were_recorded_is_accepted_with_a_message(
    source: Source, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cell = source(_MAIN)
    built = provide_build(cell, tmp_path / "cache")
    (record,) = built.folder.parent.glob(".*.files.json")
    record.unlink()
    assert provide_build(cell, tmp_path / "cache") == built
    assert "older than recorded digests" in capsys.readouterr().err
    provide_build(cell, tmp_path / "cache")
    assert "older than" not in capsys.readouterr().err


def test_failed_build_shows_its_last_lines_and_leaves_nothing_finished(
    source: Source, tmp_path: Path
) -> None:
    cell = source("int main() { return this_is_not_declared; }\n")
    with pytest.raises(ProvisionError) as caught:
        provide_build(cell, tmp_path / "cache")
    said = str(caught.value)
    assert "building current/cpu failed" in said
    assert "this_is_not_declared" in said
    assert "log: " in said
    assert not [
        path
        for path in (tmp_path / "cache" / "builds").iterdir()
        if not path.name.startswith(".")
    ]


def test_inputs_of_the_bytes_change_the_key(cells: tuple[Cell, ...]) -> None:
    cell = cells[0]
    key = manifest_of(cell).key
    native = msgspec.structs.replace(cell.build, cmake={"GGML_NATIVE": "ON"})
    other = msgspec.structs.replace(cell.locked, nar_hash="sha256-" + "B" * 43 + "=")
    assert manifest_of(msgspec.structs.replace(cell, build=native)).key != key
    assert manifest_of(msgspec.structs.replace(cell, locked=other)).key != key
    assert manifest_of(msgspec.structs.replace(cell, model_key="gemma4-31b")).key == key


def test_cuda_is_a_variant_of_the_same_recipe(cells: tuple[Cell, ...]) -> None:
    from tests.shipped import shipped_cells

    cuda = manifest_of(shipped_cells("published")[0]).cmake
    assert cuda["GGML_CUDA"] == "ON"
    assert cuda["CMAKE_CUDA_ARCHITECTURES"] == "86;89;90;120"
    assert cuda["GGML_CUDA_FA_ALL_QUANTS"] == "OFF"
    assert cuda["LLAMA_BUILD_NUMBER"] == "8643"
    cpu = manifest_of(cells[0]).cmake
    assert cpu["GGML_CUDA"] == "OFF"
    assert cpu["LLAMA_BUILD_NUMBER"] == "0"


def test_no_build_uses_the_network(cells: tuple[Cell, ...]) -> None:
    """The web page of newer pins is otherwise fetched from a hub."""
    cmake = manifest_of(cells[0]).cmake
    for name in ("LLAMA_BUILD_UI", "LLAMA_USE_PREBUILT_UI", "LLAMA_OPENSSL"):
        assert cmake[name] == "OFF"


def test_compiler_flags_of_the_shell_are_dropped() -> None:
    """They would change the programs and not the build's key."""
    shell = {
        "PATH": "/bin",
        "CPATH": "/include",
        "NIX_CFLAGS_COMPILE": "-isystem x",
        "CXXFLAGS": "-O0",
        "NVCC_APPEND_FLAGS": "-G",
        "CMAKE_TOOLCHAIN_FILE": "other.cmake",
    }
    assert compile_environment(shell).keys() == {"PATH", "CPATH", "NIX_CFLAGS_COMPILE"}


def test_bench_is_built_first_and_the_rest_reuses_its_objects(
    source: Source, tmp_path: Path
) -> None:
    cell, cache = source(_MAIN), tmp_path / "cache"
    first = provide_build(cell, cache, program="llama-bench")
    assert [path.name for path in (first.folder / "bin").iterdir()] == ["llama-bench"]
    bench = file_sha256(first.program("llama-bench"))
    (objects,) = (cache / "work").iterdir()
    assert objects.name == first.manifest.key
    made = {path: path.stat().st_mtime_ns for path in objects.rglob("*.o")}
    assert provide_build(cell, cache, program="llama-bench") == first

    log = cache / "logs" / f"build-{first.manifest.key}.log"
    whole = provide_build(cell, cache)
    assert whole.manifest == first.manifest
    assert {path.name for path in (whole.folder / "bin").iterdir()} == set(TARGETS)
    assert file_sha256(whole.program("llama-bench")) == bench
    compiled = [line for line in log.read_text().splitlines() if "Building" in line]
    assert len(made) == 1
    assert len(compiled) == len(TARGETS) - 1
    assert not objects.exists()

    assert provide_build(cell, cache, program="llama-bench") == whole
    assert first.program("llama-bench").exists(), "another process may use it"


_LIBRARY = """
add_library(llama STATIC core.cpp models/a.cpp models/b.cpp models/c.cpp)
foreach(name %s)
  target_link_libraries(${name} PRIVATE llama)
endforeach()
"""


@pytest.fixture
def with_models(index: Index, cells: tuple[Cell, ...]) -> Callable[..., Cell]:
    """A cell whose programs have a library of a core and of three models."""

    def make(**models: str) -> Cell:
        programs = " ".join((*TARGETS, BATCHED_BENCH))
        (index.tree / "CMakeLists.txt").write_text(
            (_CMAKE + _LIBRARY) % (programs, programs)
        )
        (index.tree / "main.cpp").write_text(_MAIN)
        (index.tree / "core.cpp").write_text("int core() { return 0; }\n")
        (index.tree / "models").mkdir(exist_ok=True)
        for name in "abc":
            text = f"{models.get(name, '')}\nint {name}() {{ return 0; }}\n"
            (index.tree / "models" / f"{name}.cpp").write_text(text)
        index.renew()
        return msgspec.structs.replace(cells[0], locked=index.publish())

    return make


def test_models_are_compiled_together_and_the_core_by_itself(
    with_models: Callable[..., Cell], tmp_path: Path
) -> None:
    built = provide_build(with_models(), tmp_path / "cache", program="llama-bench")
    assert built.manifest.recipe == RECIPE_VERSION
    assert not built.manifest.apart
    assert _compiled(tmp_path / "cache", "llama.dir") == {
        "core.cpp.o",
        "Unity/unity_models-0_cxx.cxx.o",
    }


def test_models_that_do_not_compile_together_are_compiled_apart(
    with_models: Callable[..., Cell], tmp_path: Path
) -> None:
    cell = with_models(
        a="static int both() { return 1; }", b="static int both() { return 2; }"
    )
    built = provide_build(cell, tmp_path / "cache", program="llama-bench")
    assert built.manifest.apart
    kept = json.loads((built.folder / "build.json").read_text())
    assert kept["apart"]
    assert built.program("llama-bench").exists()


def test_error_in_a_model_is_that_of_its_own_file(
    with_models: Callable[..., Cell], tmp_path: Path
) -> None:
    cell = with_models(b="int wrong() { return not_declared; }")
    with pytest.raises(ProvisionError) as caught:
        provide_build(cell, tmp_path / "cache")
    last = str(caught.value).split("FAILED: ")[-1]
    assert "Unity" not in last
    assert "models/b.cpp" in last
    assert "not_declared" in last


def _compiled(cache: Path, target: str) -> set[str]:
    (work,) = (cache / "work").iterdir()
    folder = next(work.rglob(target))
    return {str(path.relative_to(folder)) for path in folder.rglob("*.o")}


def test_work_is_done_beside_the_compiler_and_only_where_it_runs(
    source: Source, tmp_path: Path
) -> None:
    cell, begun = source(_MAIN), []
    for _ in range(2):
        provide_build(cell, tmp_path / "cache", meanwhile=lambda: begun.append(1))
    assert begun == [1]


def test_batched_bench_is_built_on_request_without_changing_the_build(
    source: Source, tmp_path: Path
) -> None:
    cell, cache = source(_MAIN), tmp_path / "cache"
    first = provide_build(cell, cache, program="llama-bench")
    batched = provide_build(cell, cache, program=BATCHED_BENCH)
    assert batched.manifest == first.manifest
    assert {path.name for path in (batched.folder / "bin").iterdir()} == {
        "llama-bench",
        BATCHED_BENCH,
    }
    log = cache / "logs" / f"build-{first.manifest.key}.log"
    compiled = [line for line in log.read_text().splitlines() if "Building" in line]
    assert len(compiled) == 1, "llama-bench was there"
    whole = provide_build(cell, cache)
    assert whole.manifest == first.manifest
    with pytest.raises(ProvisionError, match=f"has no {BATCHED_BENCH}"):
        whole.program(BATCHED_BENCH)
    assert provide_build(cell, cache, program=BATCHED_BENCH) == batched
    assert not [*(cache / "work").iterdir()]
