"""Whether this machine can run a build: its card, its processor's instructions."""

import platform

from llamatrix.config.matrix import Backend, Build
from llamatrix.errors import ProvisionError
from llamatrix.host import cpu_flags, this_host
from llamatrix.nvml import driver_problem, gpus


def require_device(key: str, build: Build) -> None:
    """Raise ProvisionError if no card here can run a build; a CPU build needs none.

    llama.cpp would silently compute on the CPU instead.
    """
    if build.backend is not Backend.CUDA:
        return
    cards = gpus()
    if not cards:
        problem = driver_problem() or (
            "no CUDA card answers; `nvidia-smi` should list one"
        )
        raise ProvisionError(
            f"builds.{key}: {problem}; or choose a profile with a CPU build (`--profile "
            "smoke`)"
        )
    least = min(build.cuda_capabilities, key=_number, default="0.0")
    if all(_number(card.compute_capability) < _number(least) for card in cards):
        names = ", ".join(f"{card.name} ({card.compute_capability})" for card in cards)
        raise ProvisionError(
            f"builds.{key}.cuda_capabilities: compiled for {least} and newer, but here "
            f"is {names}; add its capability"
        )


def _number(capability: str) -> tuple[int, int]:
    major, _, minor = capability.partition(".")
    return int(major), int(minor)


_FLAGS = {
    "GGML_AVX": "avx",
    "GGML_AVX2": "avx2",
    "GGML_AVX512": "avx512f",
    "GGML_BMI2": "bmi2",
    "GGML_F16C": "f16c",
    "GGML_FMA": "fma",
}
"""Instruction sets: CMake's name and the kernel's."""
_X86 = ("x86_64", "AMD64", "i686")


def missing_instructions(build: Build) -> tuple[str, ...]:
    """Return definitions of a build that need instructions this processor lacks.

    Processors other than x86 have none of them, and CMake ignores the names.
    """
    if platform.machine() not in _X86:
        return ()
    have = cpu_flags()
    return tuple(
        name
        for name, flag in _FLAGS.items()
        if build.cmake.get(name, "OFF").upper() == "ON" and flag not in have
    )


def require_instructions(build_key: str, build: Build) -> None:
    """Raise ProvisionError with the line to change: the binary would crash."""
    if missing := missing_instructions(build):
        wanted = ", ".join(f'{name} = "OFF"' for name in missing)
        raise ProvisionError(
            f"matrix.toml: builds.{build_key}.cmake: asks for {', '.join(missing)}, "
            f"which this processor ({this_host().cpu_model}) does not have; write "
            f"{wanted} there, or choose a build with GGML_NATIVE"
        )
