"""CUDA's libraries are found where a bare nvcc leaves them out."""

import sys
from pathlib import Path

import pytest

from llamatrix.provision.compiler import cuda_cmake_definitions


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """NVIDIA's cuBLAS package, as pip installs it, and no other `nvidia` on the path."""
    root = tmp_path / "site" / "nvidia" / "cu13"
    for name in ("lib/libcublas.so.13", "lib/libcublasLt.so.13", "include/cublas_v2.h"):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    monkeypatch.setattr(sys, "path", [str(tmp_path / "site")])
    return root


def toolkit(tmp_path: Path, *libraries: str) -> Path:
    """A compiler in a toolkit that has these libraries; returns the compiler."""
    compiler = tmp_path / "cuda" / "bin" / "nvcc"
    compiler.parent.mkdir(parents=True)
    compiler.touch()
    for name in libraries:
        path = tmp_path / "cuda" / "lib64" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return compiler


def test_whole_toolkit_needs_nothing(package: Path, tmp_path: Path) -> None:
    del package
    compiler = toolkit(tmp_path, "libcublas.so", "stubs/libcuda.so")
    assert cuda_cmake_definitions(compiler, {}) == {}


def test_cublas_is_taken_from_the_python_package(package: Path, tmp_path: Path) -> None:
    if Path("/usr/local/cuda/lib64/libcublas.so").exists():
        pytest.skip("this machine's own toolkit has cuBLAS")
    found = cuda_cmake_definitions(toolkit(tmp_path, "stubs/libcuda.so"), {})
    assert found == {
        "CUDA_cublas_LIBRARY": str(package / "lib/libcublas.so.13"),
        "CUDA_cublasLt_LIBRARY": str(package / "lib/libcublasLt.so.13"),
        "CMAKE_CUDA_FLAGS": f"-isystem {package / 'include'}",
    }


def test_drivers_library_is_taken_from_the_linkers_path(
    package: Path, tmp_path: Path
) -> None:
    del package
    driver = tmp_path / "driver" / "libcuda.so.1"
    driver.parent.mkdir()
    driver.touch()
    compiler = toolkit(tmp_path, "libcublas.so")
    found = cuda_cmake_definitions(compiler, {"LD_LIBRARY_PATH": f":{driver.parent}"})
    if "CUDA_cuda_driver_LIBRARY" in found:
        assert Path(found["CUDA_cuda_driver_LIBRARY"]).name == "libcuda.so.1"
    else:
        assert Path("/usr/local/cuda/lib64/stubs/libcuda.so").exists()


def test_machine_without_cublas_gets_no_definitions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    compiler = toolkit(tmp_path, "stubs/libcuda.so")
    assert "CUDA_cublas_LIBRARY" not in cuda_cmake_definitions(compiler, {})
