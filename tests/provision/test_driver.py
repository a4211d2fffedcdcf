"""The host's CUDA driver, its own libraries only, for one program at a time."""

import os
import shutil
import stat
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from tests.shipped import ROOT

from llamatrix.errors import ProvisionError
from llamatrix.provision.driver import with_driver

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


def test_a_program_finds_the_drivers_own_libraries_and_no_neighbour(
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


def test_a_second_call_finds_a_driver_that_was_replaced(
    tmp_path: Path, host: Path, store_path: Path
) -> None:
    first = with_driver(store_path, tmp_path / "cache", [host])
    assert with_driver(store_path, tmp_path / "cache", [host]) == first
    (host / "libcuda.so.1").unlink()
    (host / "libcuda.so.1").symlink_to("libcuda.so.580.2")
    (host / "libcuda.so.580.2").touch()
    assert with_driver(store_path, tmp_path / "cache", [host]) != first


def test_the_first_folder_with_a_driver_is_taken(
    tmp_path: Path, host: Path, store_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "libcuda.so.1").touch()
    folder = with_driver(store_path, tmp_path / "cache", [other, host])
    (links,) = (tmp_path / "cache" / "driver").iterdir()
    assert names(links) == ["libcuda.so.1"]
    assert str(links) in (folder / "bin" / "llama-bench").read_text()


def test_no_driver_is_told_with_what_to_do(tmp_path: Path, store_path: Path) -> None:
    with pytest.raises(ProvisionError) as caught:
        with_driver(store_path, tmp_path / "cache", [tmp_path / "a", tmp_path / "b"])
    text = str(caught.value)
    assert text.startswith("no CUDA driver: libcuda.so.1 is in none of ")
    assert "CUDA_DRIVER_DIR" in text
    assert "--profile smoke" in text


def test_the_shells_wrapper_does_the_same(host: Path, wrapped: Wrapped) -> None:
    ended = wrapped("sh", "-c", "echo $LD_LIBRARY_PATH; exit 7", driver=host)
    assert ended.returncode == 7
    assert names(Path(ended.stdout.strip())) == DRIVER
    ended = wrapped(
        "sh", "-c", "echo $LD_LIBRARY_PATH", driver=host, searched="/before"
    )
    assert ended.stdout.strip().endswith(":/before")


def test_the_wrapper_tells_a_missing_driver_unless_it_may_lack(
    tmp_path: Path, wrapped: Wrapped
) -> None:
    ended = wrapped("true", driver=tmp_path)
    assert ended.returncode == 3
    assert "no CUDA driver: libcuda.so.1 is in none of" in ended.stderr
    ended = wrapped("--if-present", "sh", "-c", "exit 5", driver=tmp_path)
    assert ended.returncode == 5
    assert wrapped(driver=tmp_path).returncode == 2
