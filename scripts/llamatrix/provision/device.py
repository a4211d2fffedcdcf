"""The card that a CUDA build needs, asked before anything is compiled or measured."""

from llamatrix.config.matrix import Backend, Build
from llamatrix.driver_problem import driver_problem
from llamatrix.errors import ProvisionError
from llamatrix.nvml import gpus


def require_device(key: str, build: Build) -> None:
    """ProvisionError where no card here can run a build; a CPU build needs none.

    llama.cpp would compute on the CPU instead, without a word.
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
