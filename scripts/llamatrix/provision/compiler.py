"""The compilers of this machine, and CUDA's libraries.

Some machines have nvcc alone, and cuBLAS only as a package beside this Python (PyTorch
installs it), or the driver's libcuda outside the linker's folders. CMake gets the paths
of both.
"""

import importlib.util
import os
import re
import shutil
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path

from llamatrix import shell
from llamatrix.config.matrix import Backend
from llamatrix.errors import ProvisionError

_TIMEOUT_S = 30
_FLAGS = (
    *("CFLAGS", "CXXFLAGS", "CPPFLAGS", "CUDAFLAGS", "LDFLAGS"),
    *("NVCC_APPEND_FLAGS", "NVCC_PREPEND_FLAGS"),
    *("CMAKE_TOOLCHAIN_FILE", "CMAKE_BUILD_TYPE"),
)
"""Variables that CMake and nvcc take as flags."""
_CXX_NAMES = ("c++", "g++", "clang++")


def find_tool(name: str) -> Path | None:
    """Return a Python package's program beside this interpreter, else the PATH's."""
    beside = Path(sysconfig.get_path("scripts")) / name
    if beside.exists():
        return beside
    path = shutil.which(name)
    return Path(path) if path else None


@cache
def cxx() -> Path | None:
    """Return the C++ compiler: `CXX`, else the first usual name on the PATH."""
    for name in (os.environ.get("CXX"), *_CXX_NAMES):
        path = shutil.which(name) if name else None
        if path:
            return Path(path)
    return None


@cache
def nvcc() -> Path | None:
    """Return NVIDIA's compiler: on the PATH, or where its installer puts it."""
    path = shutil.which("nvcc") or shutil.which("nvcc", path="/usr/local/cuda/bin")
    return Path(path) if path else None


@cache
def compiler_id(backend: Backend) -> str:
    """Name the compilers of a backend with their versions; `none` for a missing one.

    It is part of every record's key: another compiler makes another binary.
    """
    programs = [cxx()] if backend is Backend.CPU else [cxx(), nvcc()]
    return " + ".join(_version(program) if program else "none" for program in programs)


def compile_environment(outer: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the environment without compiler flags, which no build's key includes.

    Flags for a build belong in `cmake` of matrix.toml: CMAKE_CXX_FLAGS.
    """
    return {name: value for name, value in outer.items() if name not in _FLAGS}


def require_compiler(backend: Backend) -> None:
    """ProvisionError with the remedy where a compiler of the backend is missing."""
    if cxx() is None:
        raise ProvisionError(
            f"no C++ compiler found (looked for CXX, {', '.join(_CXX_NAMES)} on the "
            "PATH); install one, for example `apt install g++`, or set CXX"
        )
    if backend is Backend.CUDA and nvcc() is None:
        raise ProvisionError(
            "no nvcc found on the PATH or in /usr/local/cuda/bin; install the CUDA "
            "toolkit, enter `nix develop`, or choose a profile with a CPU build"
        )


def _version(program: Path) -> str:
    """Return name and version: `g++ 12.2.0`, `nvcc 13.0`."""
    text = _stdout(program, "--version")
    match = re.search(r"\b(?:release |version )?(\d+\.\d+(?:\.\d+)?)", text)
    families = {"clang": "clang++", "Free Software": "g++", "NVIDIA": "nvcc"}
    name = next((families[word] for word in families if word in text), program.name)
    return f"{name} {match[1]}" if match else name


_SYSTEM = (
    *("/usr/local/cuda/lib64", "/usr/lib/x86_64-linux-gnu", "/usr/lib64"),
    "/usr/lib/aarch64-linux-gnu",
)
_NAMED = (
    *("CUDAToolkit_ROOT", "CUDA_PATH", "CUDA_HOME", "CONDA_PREFIX"),
    *("CMAKE_PREFIX_PATH", "CMAKE_LIBRARY_PATH", "CMAKE_INCLUDE_PATH"),
    *("LIBRARY_PATH", "LD_LIBRARY_PATH", "CPATH"),
)
"""Variables by which a user points to parts of CUDA."""
_ROOTS = (Path("/usr/local/cuda"), Path("/opt/cuda"), Path("/usr/lib/cuda"))
_BELOW = (
    *(".", "include", "lib", "lib64", "stubs", "lib/stubs", "lib64/stubs"),
    *("lib/x86_64-linux-gnu", "lib/aarch64-linux-gnu"),
)
_PARTS = (
    ("cuda_runtime.h", "", "cuda-cudart-dev-{}"),
    ("libcudart*", "", "cuda-cudart-dev-{}"),
    ("cublas_v2.h", "CUDA_cublas_LIBRARY", "libcublas-dev-{}"),
    ("libcublas.*", "CUDA_cublas_LIBRARY", "libcublas-dev-{}"),
    ("libcuda.so*", "CUDA_cuda_driver_LIBRARY", "cuda-driver-dev-{}"),
)
"""Files that a build needs, the CMake definition that replaces them, NVIDIA's package."""
_STUBS = ("/usr/local/cuda/lib64/stubs",)
_DRIVER = ("/usr/local/nvidia/lib64", "/usr/local/nvidia/lib", "/usr/lib/wsl/lib")


def cuda_cmake_definitions(
    compiler: Path | None, environment: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """Return CMake definitions for what its own search would miss; mostly none."""
    root = compiler.resolve().parent.parent if compiler else None
    own = [root / "lib64", root / "lib"] if root else []
    system = [*own, *map(Path, _SYSTEM)]
    path = [Path(part) for part in environment.get("LD_LIBRARY_PATH", "").split(":")]
    definitions: dict[str, str] = {}
    if not _first(system, "libcublas.so"):
        definitions |= _cublas(package_folders())
    if not _first(
        [*(path / "stubs" for path in own), *map(Path, _STUBS)], "libcuda.so"
    ):
        folders = [*map(Path, _DRIVER), *path, *system]
        if library := _first(folders, "libcuda.so.1"):
            definitions["CUDA_cuda_driver_LIBRARY"] = str(library)
    return definitions


def require_toolkit(
    compiler: Path, capabilities: str, environment: Mapping[str, str] = os.environ
) -> None:
    """Raise ProvisionError with the missing packages of CUDA's toolkit.

    `capabilities` are written as for CMake: `80;89-real`. Under Nix the shell's own
    hooks find the toolkit.
    """
    if "IN_NIX_SHELL" in environment:
        return
    definitions = cuda_cmake_definitions(compiler, environment)
    named = [environment.get(name, "") for name in _NAMED]
    roots = [*map(Path, ":".join(named).replace(";", ":").split(":")), Path("/usr")]
    roots += [*_ROOTS, compiler.resolve().parent.parent]
    folders = [root / below for root in roots if root != Path() for below in _BELOW]
    folders += [path for root in roots for path in root.glob("targets/*/*")]
    folders += [*map(Path, (*_SYSTEM, *_DRIVER)), *package_folders()]
    version = re.search(r"release (\d+)\.(\d+)", _stdout(compiler, "--version"))
    suffix = "-".join(version.groups()) if version else "*"
    missing = [
        f"{file} (package {package.format(suffix)})"
        for file, definition, package in _PARTS
        if definition not in definitions and not _first(folders, file)
    ]
    if missing:
        raise ProvisionError(
            f"{compiler}: the CUDA toolkit lacks {', '.join(missing)}; install them, "
            "enter `nix develop`, or choose a profile with a CPU build"
        )
    known = set(re.findall(r"sm_(\d+)", _stdout(compiler, "--list-gpu-code")))
    architectures = set(re.findall(r"\d+", capabilities))
    if known and architectures - known:
        raise ProvisionError(
            f"{compiler}: cannot compile for {', '.join(sorted(architectures - known))} (it "
            f"knows {', '.join(sorted(known, key=int))}); install a newer CUDA toolkit, "
            "or correct cuda_capabilities in matrix.toml"
        )


def _stdout(compiler: Path, flag: str) -> str:
    return shell.run([str(compiler), flag], timeout_s=_TIMEOUT_S).out


def package_folders() -> Iterator[Path]:
    """Yield the library folders of NVIDIA's installed Python packages."""
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


def _first(folders: Iterable[Path], pattern: str) -> Path | None:
    for folder in folders:
        for path in sorted(folder.glob(pattern)) if str(folder) != "." else ():
            return path
    return None
