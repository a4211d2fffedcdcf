"""Programs of a Nix shell are used, and an outdated shell is reported."""

import json
import os
import shutil
import stat
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import pytest
from tests.shipped import ROOT, shipped_cells

from llamatrix.config.cell import Cell
from llamatrix.errors import ProvisionError
from llamatrix.provision.build import compiled_by, manifest_of, provide_build
from llamatrix.provision.nix import (
    VARIABLE,
    stored_opencode,
    stored_tree,
    with_driver,
    world,
)
from llamatrix.provision.source import provide_source

Offer = Callable[..., None]
STORED = "0123456789abcdfghijklmnpqrsvwxyz-llama-cpp"


@pytest.fixture
def offer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Offer:
    """Enter a shell that provides these store paths."""

    def enter(**paths: object) -> None:
        listed = tmp_path / "store-paths.json"
        listed.write_text(json.dumps(paths))
        monkeypatch.setenv(VARIABLE, str(listed))

    return enter


def built_by_nix(cell: Cell, folder: Path, **other: object) -> Path:
    """A store path as nix/llama-cpp.nix fills it."""
    path = folder / STORED
    (path / "bin").mkdir(parents=True)
    program = path / "bin" / "llama-bench"
    program.write_text('#!/bin/sh\necho "$LD_LIBRARY_PATH"\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    made = msgspec.structs.replace(manifest_of(cell), compiler="g++ 15.2.0")
    raw = msgspec.to_builtins(msgspec.structs.replace(made, **other))
    del raw["store_path"]
    (path / "build.json").write_text(json.dumps(raw))
    return path


def test_build_of_the_shell_is_used_and_named_in_records(
    cells: tuple[Cell, ...], tmp_path: Path, offer: Offer
) -> None:
    path = built_by_nix(cells[0], tmp_path / "store")
    offer(builds={"current/cpu": str(path)})
    built = provide_build(cells[0], tmp_path / "cache")
    assert built.program("llama-bench") == path / "bin" / "llama-bench"
    assert built.manifest.store_path == str(path)
    assert built.manifest.compiler == "g++ 15.2.0"
    assert not (tmp_path / "cache").exists(), "nothing is built or fetched again"


def test_other_binary_changes_the_record_key(
    cells: tuple[Cell, ...], tmp_path: Path, offer: Offer
) -> None:
    before = compiled_by(cells[0])
    offer(builds={"current/cpu": str(built_by_nix(cells[0], tmp_path))})
    assert compiled_by(cells[0]) == f"nix {STORED}" != before


@pytest.mark.parametrize("key", ["commit", "build_number", "cmake"])
def test_lock_changed_since_entering_the_shell_is_reported(
    cells: tuple[Cell, ...], tmp_path: Path, offer: Offer, key: str
) -> None:
    others: dict[str, object] = {"commit": "0" * 40, "build_number": 1, "cmake": {}}
    path = built_by_nix(cells[0], tmp_path / "store", **{key: others[key]})
    offer(builds={"current/cpu": str(path)})
    with pytest.raises(ProvisionError, match=rf"built with {key} .*enter it again"):
        provide_build(cells[0], tmp_path / "cache")


def test_garbage_collected_path_is_reported(
    cells: tuple[Cell, ...], tmp_path: Path, offer: Offer
) -> None:
    offer(builds={"current/cpu": str(tmp_path / "gone")})
    with pytest.raises(ProvisionError, match="no longer in the store"):
        provide_build(cells[0], tmp_path / "cache")


def test_unreadable_list_is_reported(
    cells: tuple[Cell, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "missing.json"))
    with pytest.raises(ProvisionError, match="cannot be read"):
        provide_build(cells[0], tmp_path)


def test_cuda_build_of_the_shell_starts_with_the_driver(
    tmp_path: Path, offer: Offer, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = shipped_cells("published")[0]
    path = built_by_nix(cell, tmp_path / "store")
    offer(builds={"april/cuda": str(path)})
    driver = tmp_path / "driver"
    driver.mkdir()
    (driver / "libcuda.so.1").touch()
    monkeypatch.setenv("CUDA_DRIVER_DIR", str(driver))
    built = provide_build(cell, tmp_path / "cache")
    assert built.folder != path
    assert built.manifest.store_path == str(path)


def test_missing_driver_is_reported_before_anything_runs(
    tmp_path: Path, offer: Offer, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = shipped_cells("published")[0]
    offer(builds={"april/cuda": str(built_by_nix(cell, tmp_path / "store"))})
    monkeypatch.setenv("CUDA_DRIVER_DIR", str(tmp_path))
    with pytest.raises(ProvisionError, match="no CUDA driver: libcuda"):
        provide_build(cell, tmp_path / "cache")


def test_source_tree_of_the_shell_is_not_fetched_again(
    cells: tuple[Cell, ...], tmp_path: Path, offer: Offer
) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    locked = cells[0].locked
    offer(sources={locked.commit: str(tree)})
    assert provide_source(locked, tmp_path / "cache") == tree


def test_doctor_says_where_binaries_come_from(
    offer: Offer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert world().startswith("no Nix shell")
    offer(builds={"april/cuda": "x", "current/cpu": "y"})
    assert world() == "Nix shell; builds from the store: april/cuda, current/cpu"


def test_shells_agent_and_its_server_are_used_by_pin(
    tmp_path: Path, offer: Offer
) -> None:
    for name in ("opencode", "context7"):
        (tmp_path / name).mkdir()
    offer(
        opencode={"april": str(tmp_path / "opencode")},
        context7={"april": str(tmp_path / "context7")},
    )
    assert stored_opencode("april") == tmp_path / "opencode/bin/opencode"
    assert stored_tree("context7", "april") == tmp_path / "context7/lib/context7"
    assert stored_opencode("current") is None
    assert stored_tree("context7", "current") is None
    (tmp_path / "opencode").rmdir()
    with pytest.raises(ProvisionError, match="no longer in the store"):
        stored_opencode("april")


def test_no_agent_is_provided_outside_of_a_shell(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert stored_opencode("april") is None
    assert stored_tree("context7", "april") is None


WRAPPER = ROOT / "nix" / "with-cuda-driver.sh"
Wrapped = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """A folder of libraries as Debian's: the driver's among many others."""
    folder = tmp_path / "host lib"
    folder.mkdir()
    for name in (
        "libcuda.so.570.1",
        "libnvidia-ml.so.1",
        "libc.so.6",
        "libstdc++.so.6",
    ):
        (folder / name).touch()
    (folder / "libcuda.so.1").symlink_to("libcuda.so.570.1")
    return folder


@pytest.fixture
def store_path(tmp_path: Path) -> Path:
    program = tmp_path / "store" / "abc-llama-cpp" / "bin" / "llama-bench"
    program.parent.mkdir(parents=True)
    program.write_text('#!/bin/sh\nprintf "%s|" "$LD_LIBRARY_PATH" "$@"\nexit 7\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return program.parents[1]


@pytest.fixture
def wrapped(tmp_path: Path) -> Wrapped:
    """Run the shell's wrapper with an empty cache."""

    def run(
        *arguments: str, driver: Path, searched: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        bash = shutil.which("bash")
        assert bash
        environment = {
            "PATH": os.environ["PATH"],
            "XDG_CACHE_HOME": str(tmp_path / "cache"),
            "CUDA_DRIVER_DIR": str(driver),
        }
        if searched:
            environment["LD_LIBRARY_PATH"] = searched
        return subprocess.run(
            [bash, WRAPPER, *arguments],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def names(folder: Path) -> Sequence[str]:
    return sorted(path.name for path in folder.iterdir())


DRIVER = ["libcuda.so.1", "libcuda.so.570.1", "libnvidia-ml.so.1"]


def test_program_finds_only_the_drivers_own_libraries(
    tmp_path: Path, host: Path, store_path: Path
) -> None:
    folder = with_driver(store_path, tmp_path / "cache dir", [tmp_path, host])
    ended = subprocess.run(
        [folder / "bin" / "llama-bench", "-p", "a b"],
        env={"LD_LIBRARY_PATH": "/before"},
        capture_output=True,
        text=True,
        check=False,
    )
    searched, *arguments = ended.stdout.rstrip("|").split("|")
    links, before = searched.split(":")
    assert names(Path(links)) == DRIVER
    assert before == "/before"
    assert arguments == ["-p", "a b"]
    assert ended.returncode == 7


def test_second_call_finds_a_driver_that_was_replaced(
    tmp_path: Path, host: Path, store_path: Path
) -> None:
    first = with_driver(store_path, tmp_path / "cache", [host])
    assert with_driver(store_path, tmp_path / "cache", [host]) == first
    (host / "libcuda.so.1").unlink()
    (host / "libcuda.so.1").symlink_to("libcuda.so.580.2")
    (host / "libcuda.so.580.2").touch()
    assert with_driver(store_path, tmp_path / "cache", [host]) != first


def test_first_folder_with_a_driver_is_taken(
    tmp_path: Path, host: Path, store_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "libcuda.so.1").touch()
    folder = with_driver(store_path, tmp_path / "cache", [other, host])
    (links,) = (tmp_path / "cache" / "driver").iterdir()
    assert names(links) == ["libcuda.so.1"]
    assert str(links) in (folder / "bin" / "llama-bench").read_text()


def test_missing_driver_is_reported_with_remedy(
    tmp_path: Path, store_path: Path
) -> None:
    with pytest.raises(ProvisionError) as caught:
        with_driver(store_path, tmp_path / "cache", [tmp_path / "a", tmp_path / "b"])
    text = str(caught.value)
    assert text.startswith("no CUDA driver: libcuda.so.1 is in none of ")
    assert "CUDA_DRIVER_DIR" in text
    assert "--profile smoke" in text


def test_shells_wrapper_does_the_same(host: Path, wrapped: Wrapped) -> None:
    ended = wrapped("sh", "-c", "echo $LD_LIBRARY_PATH; exit 7", driver=host)
    assert ended.returncode == 7
    assert names(Path(ended.stdout.strip())) == DRIVER
    ended = wrapped(
        "sh", "-c", "echo $LD_LIBRARY_PATH", driver=host, searched="/before"
    )
    assert ended.stdout.strip().endswith(":/before")


def test_wrapper_reports_missing_driver_unless_optional(
    tmp_path: Path, wrapped: Wrapped
) -> None:
    ended = wrapped("true", driver=tmp_path)
    assert ended.returncode == 3
    assert "no CUDA driver: libcuda.so.1 is in none of" in ended.stderr
    ended = wrapped("--if-present", "sh", "-c", "exit 5", driver=tmp_path)
    assert ended.returncode == 5
    assert wrapped(driver=tmp_path).returncode == 2
