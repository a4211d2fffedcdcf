"""A CUDA build requires its card and its toolkit before anything is compiled."""

import platform
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from tests.fake_nvml import fake_nvml, without_cards

from llamatrix import host
from llamatrix.config.cell import Cell
from llamatrix.config.load import load_matrix
from llamatrix.config.matrix import Build
from llamatrix.errors import ProvisionError
from llamatrix.nvml import driver_problem, gpus
from llamatrix.project import Project
from llamatrix.provision.build import provide_build
from llamatrix.provision.compiler import require_toolkit
from llamatrix.provision.hardware import (
    missing_instructions,
    require_device,
    require_instructions,
)

_NVCC = """#!/bin/sh
case $1 in
--version) echo "NVIDIA (R) Cuda compiler driver"; echo "release 12.4, V12.4.131";;
--list-gpu-code) echo sm_80; echo sm_86; echo sm_89; echo sm_90;;
esac
"""
_WHOLE = (
    *("include/cuda_runtime.h", "include/cublas_v2.h", "lib64/libcudart_static.a"),
    *("lib64/libcublas.so", "lib64/stubs/libcuda.so"),
)


@pytest.fixture(autouse=True)
def _asked_anew() -> Iterator[None]:
    gpus.cache_clear()
    driver_problem.cache_clear()
    yield
    gpus.cache_clear()
    driver_problem.cache_clear()


@pytest.fixture
def cuda(project: Project) -> Build:
    return load_matrix(project.matrix_file).builds["cuda"]


def toolkit(folder: Path, *, without: str = "") -> Path:
    nvcc = folder / "cuda" / "bin" / "nvcc"
    nvcc.parent.mkdir(parents=True)
    nvcc.write_text(_NVCC)
    nvcc.chmod(0o755)
    for name in _WHOLE:
        if not without or without not in name:
            path = folder / "cuda" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    return nvcc


def test_cuda_build_without_a_card_is_refused(
    cuda: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", without_cards())
    with pytest.raises(ProvisionError, match=r"builds\.cuda: .*card.*--profile smoke"):
        require_device("cuda", cuda)


def test_card_older_than_the_capabilities_is_refused(
    cuda: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", fake_nvml(capability=(7, 5)))
    with pytest.raises(ProvisionError, match=r"for 8\.6 and newer, but here is .*7\.5"):
        require_device("cuda", cuda)


@pytest.mark.parametrize("capability", [(8, 6), (8, 9), (12, 0)])
def test_card_with_or_above_the_capabilities_is_accepted(
    cuda: Build, capability: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", fake_nvml(capability=capability))
    require_device("cuda", cuda)


@pytest.mark.parametrize(
    ("lacking", "package"),
    [
        ("cuda_runtime.h", "cuda-cudart-dev-12-4"),
        ("libcudart", "cuda-cudart-dev-12-4"),
        ("cublas_v2.h", "libcublas-dev-12-4"),
        ("libcublas", "libcublas-dev-12-4"),
        ("libcuda.so", "cuda-driver-dev-12-4"),
    ],
)
def test_missing_part_of_the_toolkit_is_named_with_its_package(
    tmp_path: Path, lacking: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = [path for path in sys.path if "site-packages" not in path]
    monkeypatch.setattr(sys, "path", ours)
    if list(Path("/usr/local/cuda/").glob(f"*/{lacking}*")):
        pytest.skip("this machine's own toolkit has it")
    nvcc = toolkit(tmp_path, without=lacking)
    with pytest.raises(ProvisionError, match=package):
        require_toolkit(nvcc, "89", {})
    environment = {"CUDA_HOME": str(tmp_path / "other")}
    for name in _WHOLE:
        path = tmp_path / "other" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    require_toolkit(nvcc, "89", environment)


def test_capability_that_nvcc_does_not_know_is_named(tmp_path: Path) -> None:
    nvcc = toolkit(tmp_path)
    require_toolkit(nvcc, "80;89-real", {})
    with pytest.raises(ProvisionError, match="cannot compile for 120"):
        require_toolkit(nvcc, "89;120-real", {})


def test_cpu_build_needs_no_card(cuda: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", without_cards())
    require_device("cpu", msgspec.structs.replace(cuda, backend="cpu"))


@pytest.fixture
def old_processor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An x86 of 2011: AVX without AVX2."""
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("model name\t: An old CPU\nflags\t\t: fpu sse4_2 avx f16c\n")
    monkeypatch.setattr(host, "_CPUINFO", cpuinfo)
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")


@pytest.mark.usefixtures("old_processor")
def test_missing_instructions_are_named_by_their_definitions(
    cells: tuple[Cell, ...],
) -> None:
    found = missing_instructions(cells[0].build)
    assert found == ("GGML_AVX2", "GGML_BMI2", "GGML_FMA")


@pytest.mark.usefixtures("old_processor")
def test_missing_instructions_name_the_line_to_change(cells: tuple[Cell, ...]) -> None:
    with pytest.raises(ProvisionError, match=r"builds\.cpu\.cmake: asks for") as caught:
        require_instructions("cpu", cells[0].build)
    assert 'GGML_AVX2 = "OFF"' in str(caught.value)


@pytest.mark.usefixtures("old_processor")
def test_missing_instructions_stop_before_any_download(
    cells: tuple[Cell, ...], tmp_path: Path
) -> None:
    with pytest.raises(ProvisionError, match="does not have"):
        provide_build(cells[0], tmp_path / "cache")
    assert not (tmp_path / "cache" / "sdists").exists()
    assert not (tmp_path / "cache" / "work").exists()


@pytest.mark.usefixtures("old_processor")
def test_disabled_instruction_set_is_not_required(cells: tuple[Cell, ...]) -> None:
    names = ("GGML_AVX2", "GGML_BMI2", "GGML_FMA")
    build = msgspec.structs.replace(cells[0].build, cmake=dict.fromkeys(names, "OFF"))
    require_instructions("cpu", build)


@pytest.mark.usefixtures("old_processor")
def test_other_processors_ignore_the_definitions(
    cells: tuple[Cell, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    require_instructions("cpu", cells[0].build)
