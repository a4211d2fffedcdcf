"""The compilers of this machine: which, and of what version."""

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
    """A program of a Python package beside this interpreter, else one on the PATH."""
    beside = Path(sysconfig.get_path("scripts")) / name
    if beside.exists():
        return beside
    found = shutil.which(name)
    return Path(found) if found else None


@cache
def cxx() -> Path | None:
    """The C++ compiler: `CXX` from the environment, else the first usual name."""
    for name in (os.environ.get("CXX"), *_CXX_NAMES):
        found = shutil.which(name) if name else None
        if found:
            return Path(found)
    return None


@cache
def nvcc() -> Path | None:
    """NVIDIA's compiler: on the PATH, or where its installer puts it."""
    found = shutil.which("nvcc") or shutil.which("nvcc", path="/usr/local/cuda/bin")
    return Path(found) if found else None


@cache
def compiler_id(backend: Backend) -> str:
    """Names the compilers of a backend with their versions; `none` where one lacks.

    Part of every record's key: another compiler makes another binary.
    """
    programs = [cxx()] if backend is Backend.CPU else [cxx(), nvcc()]
    return " + ".join(_version(program) if program else "none" for program in programs)


def compile_environment(outer: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment without flags of the shell, which would be in no build's key.

    What is meant for a build stands in `cmake` of matrix.toml: CMAKE_CXX_FLAGS.
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
    """The compiler and the number it prints: `g++ 12.2.0`, `nvcc 13.0`."""
    said = shell.run([str(program), "--version"], timeout_s=_TIMEOUT_S).out
    found = re.search(r"\b(?:release |version )?(\d+\.\d+(?:\.\d+)?)", said)
    families = {"clang": "clang++", "Free Software": "g++", "NVIDIA": "nvcc"}
    name = next((families[word] for word in families if word in said), program.name)
    return f"{name} {found[1]}" if found else name


_SYSTEM = (
    *("/usr/local/cuda/lib64", "/usr/lib/x86_64-linux-gnu", "/usr/lib64"),
    "/usr/lib/aarch64-linux-gnu",
)
_NAMED = (
    *("CUDAToolkit_ROOT", "CUDA_PATH", "CUDA_HOME", "CONDA_PREFIX"),
    *("CMAKE_PREFIX_PATH", "CMAKE_LIBRARY_PATH", "CMAKE_INCLUDE_PATH"),
    *("LIBRARY_PATH", "LD_LIBRARY_PATH", "CPATH"),
)
"""Variables in which a user tells where parts of CUDA lie."""
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
"""Files that a build needs, CMake's definition in their place, NVIDIA's package."""
_STUBS = ("/usr/local/cuda/lib64/stubs",)
_DRIVER = ("/usr/local/nvidia/lib64", "/usr/local/nvidia/lib", "/usr/lib/wsl/lib")


def cuda_cmake_definitions(
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


def require_toolkit(
    compiler: Path, capabilities: str, environment: Mapping[str, str] = os.environ
) -> None:
    """ProvisionError naming the packages of CUDA's toolkit that a build would miss.

    `capabilities` as CMake takes them: `80;89-real`. Under Nix the shell's own hooks
    find them.
    """
    if "IN_NIX_SHELL" in environment:
        return
    told = cuda_cmake_definitions(compiler, environment)
    named = [environment.get(name, "") for name in _NAMED]
    roots = [*map(Path, ":".join(named).replace(";", ":").split(":")), Path("/usr")]
    roots += [*_ROOTS, compiler.resolve().parent.parent]
    folders = [root / below for root in roots if root != Path() for below in _BELOW]
    folders += [path for root in roots for path in root.glob("targets/*/*")]
    folders += [*map(Path, (*_SYSTEM, *_DRIVER)), *package_folders()]
    version = re.search(r"release (\d+)\.(\d+)", _said(compiler, "--version"))
    suffix = "-".join(version.groups()) if version else "*"
    missing = [
        f"{file} (package {package.format(suffix)})"
        for file, definition, package in _PARTS
        if definition not in told and not _first(folders, file)
    ]
    if missing:
        raise ProvisionError(
            f"{compiler}: the CUDA toolkit lacks {', '.join(missing)}; install them, "
            "enter `nix develop`, or choose a profile with a CPU build"
        )
    known = set(re.findall(r"sm_(\d+)", _said(compiler, "--list-gpu-code")))
    asked = set(re.findall(r"\d+", capabilities))
    if known and asked - known:
        raise ProvisionError(
            f"{compiler}: cannot compile for {', '.join(sorted(asked - known))} (it "
            f"knows {', '.join(sorted(known, key=int))}); install a newer CUDA toolkit, "
            "or mend cuda_capabilities in matrix.toml"
        )


def _said(compiler: Path, flag: str) -> str:
    return shell.run([str(compiler), flag], timeout_s=_TIMEOUT_S).out


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
