"""CUDA's libraries where the toolkit lacks them: NVIDIA's Python packages, the driver.

Some machines have nvcc alone, and cuBLAS only as a package beside this Python (PyTorch
brings it), or the driver's libcuda outside the linker's folders. CMake is told of both.
"""

import importlib.util
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

_SYSTEM = (
    *("/usr/local/cuda/lib64", "/usr/lib/x86_64-linux-gnu", "/usr/lib64"),
    "/usr/lib/aarch64-linux-gnu",
)
_STUBS = ("/usr/local/cuda/lib64/stubs",)
_DRIVER = ("/usr/local/nvidia/lib64", "/usr/local/nvidia/lib", "/usr/lib/wsl/lib")


def cuda_definitions(
    compiler: Path | None, environment: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """CMake's definitions for what its own search would miss; mostly none."""
    own = _toolkit_folders(compiler)
    system = [*own, *map(Path, _SYSTEM)]
    told = [Path(part) for part in environment.get("LD_LIBRARY_PATH", "").split(":")]
    found: dict[str, str] = {}
    if not _first(system, "libcublas.so"):
        found |= _cublas(package_folders())
    if not _first(
        [*(path / "stubs" for path in own), *map(Path, _STUBS)], "libcuda.so"
    ):
        folders = [*map(Path, _DRIVER), *told, *system]
        if library := _first(folders, "libcuda.so.1"):
            found["CUDA_cuda_driver_LIBRARY"] = str(library)
    return found


def package_folders() -> Iterator[Path]:
    """The folders of libraries in NVIDIA's Python packages, as far as installed."""
    spec = importlib.util.find_spec("nvidia")
    for place in spec.submodule_search_locations or () if spec else ():
        yield from sorted(Path(place).glob("*/lib"), reverse=True)


def _cublas(folders: Iterable[Path]) -> dict[str, str]:
    for folder in folders:
        library = _first([folder], "libcublas.so.*")
        fast = _first([folder], "libcublasLt.so.*")
        headers = folder.parent / "include"
        if library and fast and (headers / "cublas_v2.h").exists():
            return {
                "CUDA_cublas_LIBRARY": str(library),
                "CUDA_cublasLt_LIBRARY": str(fast),
                "CMAKE_CUDA_FLAGS": f"-isystem {headers}",
            }
    return {}


def _toolkit_folders(compiler: Path | None) -> list[Path]:
    if compiler is None:
        return []
    root = compiler.resolve().parent.parent
    return [root / "lib64", root / "lib"]


def _first(folders: Iterable[Path], pattern: str) -> Path | None:
    for folder in folders:
        for path in sorted(folder.glob(pattern)) if str(folder) != "." else ():
            return path
    return None
