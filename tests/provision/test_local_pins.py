"""Pins by path and by binaries: hashed as they are, and marked unproven."""

import shutil
import threading
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from tests.provision.conftest import Index, git
from tests.shipped import ROOT

from llamatrix.config.cell import Cell
from llamatrix.config.context import Context
from llamatrix.config.load import load_matrix
from llamatrix.config.lock import LockedPin, Unproven, load_lock, locked_pin
from llamatrix.config.matrix import Pin
from llamatrix.errors import MatrixError, ProvisionError
from llamatrix.project import Project
from llamatrix.provision.build import TARGETS, compiled_by, provide_build
from llamatrix.provision.local_pins import (
    provide_tree,
    shared_tree,
    with_local_pins,
)
from llamatrix.provision.resolve import with_named_pin


@pytest.fixture
def context(project: Project) -> Context:
    return Context(
        project=project,
        matrix=load_matrix(ROOT / "matrix.toml"),
        lock=load_lock(ROOT / "matrix.lock"),
        profile="smoke",
    )


def hashed(context: Context, pin: Pin) -> LockedPin:
    matrix = msgspec.structs.replace(context.matrix, pins={"mine": pin})
    context = with_local_pins(replace(context, matrix=matrix), ["mine"])
    return locked_pin(context.matrix, context.lock, "mine")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Return a working tree with an ignored file."""
    folder = tmp_path / "llama.cpp"
    folder.mkdir()
    (folder / "CMakeLists.txt").write_text("project(engine)\n")
    (folder / ".gitignore").write_text("build/\n")
    (folder / "build").mkdir()
    (folder / "build" / "old.o").write_text("object")
    return folder


def test_tracked_and_unignored_files_decide_the_hash(
    context: Context, tree: Path
) -> None:
    """The same inside git and outside of it."""
    pin = Pin(path=str(tree))
    outside = hashed(context, pin)
    git(tree, "init", "--quiet")
    git(tree, "add", ".")
    git(tree, "commit", "--quiet", "-m", "tree")
    assert hashed(context, pin) == outside
    assert outside.label == "unproven source"
    (tree / "build" / "old.o").write_text("another object")
    assert hashed(context, pin) == outside
    (tree / "new.cpp").write_text("int x;\n")
    edited = hashed(context, pin)
    assert edited.nar_hash != outside.nar_hash
    assert edited.commit != outside.commit
    (tree / "new.cpp").unlink()
    assert hashed(context, pin) == outside


def test_unchanged_files_of_the_copy_keep_their_times(
    context: Context, tree: Path
) -> None:
    pin = Pin(path=str(tree))
    times = []
    for text in ("int main() {}\n", "int main() { return 1; }\n"):
        (tree / "main.cpp").write_text(text)
        with provide_tree(hashed(context, pin), pin, context.project.cache) as copy:
            times.append(
                {path.name: path.stat().st_mtime_ns for path in copy.iterdir()}
            )
    before, after = times
    assert {name for name in before if before[name] != after[name]} == {"main.cpp"}


def test_copy_stays_as_it_is_while_it_is_compiled(context: Context, tree: Path) -> None:
    """A plan of an edited tree does not wait for it; another compiler does."""
    pin, source = Pin(path=str(tree)), tree / "main.cpp"
    source.write_text("before")
    compiled = []

    def compile_edited(locked: LockedPin) -> None:
        with provide_tree(locked, pin, context.project.cache) as copy:
            compiled.append((copy / "main.cpp").read_text())

    locked = hashed(context, pin)
    with provide_tree(locked, pin, context.project.cache) as copy:
        source.write_text("after")
        edited = hashed(context, pin)
        assert edited.nar_hash != locked.nar_hash
        other = threading.Thread(target=compile_edited, args=(edited,))
        other.start()
        other.join(0.5)
        assert (copy / "main.cpp").read_text() == "before"
        assert not compiled
    other.join(60)
    assert compiled == ["after"]


def test_the_fork_is_known_by_its_source_and_not_by_what_git_ignores(
    context: Context, tree: Path
) -> None:
    folder = tree / "ggml/src/iqk"
    folder.mkdir(parents=True)
    (tree / ".gitignore").write_text("*.o\n")
    (folder / "old.o").write_text("object")
    assert hashed(context, Pin(path=str(tree))).fork == ""
    (folder / "new.cpp").write_text("int x;\n")
    assert hashed(context, Pin(path=str(tree))).fork == "ik_llama.cpp"


def test_commits_of_a_repository_are_compiled_in_one_tree(
    context: Context, tree: Path, tmp_path: Path
) -> None:
    """What two commits have in common keeps its time: Ninja does not compile it again."""
    newer = tmp_path / "newer"
    shutil.copytree(tree, newer)
    (newer / "CMakeLists.txt").write_text("project(other)\n")
    (newer / "more.cpp").touch()
    times = []
    for source in (tree, newer, tree):
        with shared_tree(source, "https://host/repo", context.project.cache) as shared:
            files = {path.name for path in shared.rglob("*") if path.is_file()}
            assert files == {path.name for path in source.rglob("*") if path.is_file()}
            times.append((shared / ".gitignore").stat().st_mtime_ns)
    assert len(set(times)) == 1


def test_tree_edited_after_it_was_hashed_is_refused(
    context: Context, tree: Path
) -> None:
    pin = Pin(path=str(tree))
    locked = hashed(context, pin)
    (tree / "CMakeLists.txt").write_text("project(other)\n")
    with (
        pytest.raises(ProvisionError, match="was edited after it was hashed"),
        provide_tree(locked, pin, context.project.cache),
    ):
        pass


def test_folder_without_source_is_refused(context: Context, tmp_path: Path) -> None:
    with pytest.raises(ProvisionError, match="no tree of llama"):
        hashed(context, Pin(path=str(tmp_path)))
    with pytest.raises(ProvisionError, match="no such folder"):
        hashed(context, Pin(path=str(tmp_path / "nowhere")))


def test_working_tree_is_built_and_an_edit_builds_again(
    context: Context, tree: Path, cells: tuple[Cell, ...]
) -> None:
    names = " ".join(TARGETS)
    (tree / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.14)\nproject(engine C CXX)\n"
        "set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)\n"
        f"foreach(name {names})\n  add_executable(${{name}} main.cpp)\nendforeach()\n"
    )
    (tree / "main.cpp").write_text("int main() {}\n")
    pin, folders = Pin(path=str(tree)), []
    for text in ("int main() {}\n", "int main() { return 1; }\n"):
        (tree / "main.cpp").write_text(text)
        cell = msgspec.structs.replace(
            cells[0], pin=pin, pin_key="mine", locked=hashed(context, pin)
        )
        built = provide_build(cell, context.project.cache)
        assert built.program("llama-bench").is_file()
        folders.append(built.folder)
    assert len(set(folders)) == 2


def test_binaries_are_hashed_and_never_built(
    context: Context, tmp_path: Path, cells: tuple[Cell, ...]
) -> None:
    folder = tmp_path / "distro"
    (folder / "bin").mkdir(parents=True)
    for name in TARGETS[:2]:
        (folder / "bin" / name).write_text(f"#!/bin/sh\n# {name}\n")
        (folder / "bin" / name).chmod(0o755)
    pin = Pin(binaries=str(folder))
    locked = hashed(context, pin)
    assert locked.unproven is Unproven.BINARIES
    assert locked.label == "source unproven"
    assert not locked.reported_commit
    cell = msgspec.structs.replace(cells[0], pin=pin, pin_key="d", locked=locked)
    built = provide_build(cell, context.project.cache)
    assert built.program("llama-server") == folder / "bin" / "llama-server"
    assert compiled_by(cell) == "prebuilt"
    with pytest.raises(ProvisionError, match="has no llama-fit-params"):
        built.program("llama-fit-params")
    (folder / "bin" / "llama-server").write_text("#!/bin/sh\n# other\n")
    (folder / "bin" / "llama-bench").write_text("#!/bin/sh\necho --fused-moe\n")
    assert hashed(context, pin).fork == "ik_llama.cpp"
    assert hashed(context, pin).nar_hash != locked.nar_hash
    (folder / "bin" / "llama-bench").unlink()
    with pytest.raises(ProvisionError, match="has no llama-bench"):
        hashed(context, pin)


@pytest.mark.parametrize(
    "place",
    [
        "bin/libggml-cpu.so",
        "bin/libllama.so.0.0.7",
        "lib/libmtmd.so",
        "lib64/libllama.so",
    ],
)
def test_a_rebuilt_shared_library_is_another_pin(
    context: Context, tmp_path: Path, place: str
) -> None:
    """llama.cpp's own build makes small programs and puts the engine beside them."""
    folder = tmp_path / "build"
    pin = Pin(binaries=str(folder))
    for name in (f"bin/{TARGETS[0]}", f"bin/{TARGETS[1]}", "bin/libc.so", place):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("#!/bin/sh\n")
        (folder / name).chmod(0o755)
    before = hashed(context, pin)
    (folder / "bin/libc.so").write_text("no part of llama.cpp")
    assert hashed(context, pin) == before
    (folder / place).write_text("rebuilt")
    assert hashed(context, pin).nar_hash != before.nar_hash


@pytest.mark.parametrize(
    ("word", "key"),
    [
        ("june", "june"),
        ("b9553", "june"),
        ("9e3b928fd8", "june"),
        ("b8942", "late-april"),
        ("0c1e57098bba43ac29e6e3b677cdceebdd22334f", "current"),
    ],
)
def test_numbers_and_commits_name_pins_of_the_matrix(
    context: Context, word: str, key: str
) -> None:
    assert with_named_pin(context, word, flag="--pin") == (context, key)


def test_tree_and_programs_are_named_by_their_path(
    context: Context, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tree.parent)
    known, key = with_named_pin(context, "./llama.cpp", flag="--candidate")
    assert key == "tree-llama-cpp"
    assert locked_pin(known.matrix, known.lock, key).unproven is Unproven.PATH
    with pytest.raises(MatrixError, match=r"--candidate '\./nothing': no folder"):
        with_named_pin(context, "./nothing", flag="--candidate")
    with pytest.raises(MatrixError, match="known builds: b8643"):
        with_named_pin(context, "b1", flag="--candidate")


def test_folders_of_one_name_are_two_pins(
    context: Context, tree: Path, tmp_path: Path
) -> None:
    """Else a comparison of two checkouts would compare the first with itself."""
    other = tmp_path / "fixed" / tree.name
    shutil.copytree(tree, other)
    (other / "CMakeLists.txt").write_text("project(other)\n")
    keys = []
    for folder in (tree, other, tree, other):
        context, key = with_named_pin(context, str(folder), flag="--candidate")
        assert context.matrix.pins[key].path == str(folder)
        keys.append(key)
    assert keys == ["tree-llama-cpp", "tree-llama-cpp-2"] * 2
    hashes = {locked_pin(context.matrix, context.lock, key).nar_hash for key in keys}
    assert len(hashes) == 2


def test_folder_that_the_matrix_has_under_its_name_keeps_its_entry(
    context: Context, tree: Path
) -> None:
    mine = Pin(path="../llama.cpp", build_number=7)
    pins = {**context.matrix.pins, "tree-llama-cpp": mine}
    matrix = msgspec.structs.replace(context.matrix, pins=pins)
    known, key = with_named_pin(
        replace(context, matrix=matrix), str(tree), flag="--pin"
    )
    assert key == "tree-llama-cpp"
    assert known.matrix.pins[key] == mine


def test_known_commit_outside_the_matrix_is_resolved_once(
    context: Context, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    from llamatrix.config import known_builds

    index.publish()
    build = known_builds.KnownBuild(
        version="0.0.1", commit=index.commit, committed="2026-01-01", build_number=77
    )
    monkeypatch.setattr(known_builds, "known_builds", lambda: (build,))
    known, key = with_named_pin(context, "b77", flag="--pin")
    assert key == "b77"
    assert locked_pin(known.matrix, known.lock, key).commit == index.commit
    index.sdist.unlink()
    (context.project.cache / "sdists" / index.sdist.name).unlink()
    assert with_named_pin(context, "b77", flag="--pin") == (known, key)
