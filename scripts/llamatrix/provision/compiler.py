"""The compilers of this machine: which, and of what version."""

import os
import re
import shutil
import sysconfig
from collections.abc import Mapping
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
