"""NVIDIA's management library: which GPUs are here, and what they are set to.

Quantities as `nvidia-ml-py` (module `pynvml`) reports them; absent where a card
does not answer. Nothing here fails on a machine without NVIDIA's driver.
"""

from collections.abc import Callable
from functools import cache

import msgspec


class Gpu(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    name: str
    memory_bytes: int
    driver: str
    compute_capability: str
    """Major.minor, for example `8.9`."""
    power_cap_w: float | None = None
    """The enforced power limit; a condition of every speed measured on the card."""


@cache
def gpus() -> tuple[Gpu, ...]:
    """All CUDA cards the driver shows; empty without driver, library or card."""
    try:
        import pynvml
    except ImportError:
        return ()
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return ()
    try:
        return tuple(
            _gpu(pynvml, index) for index in range(pynvml.nvmlDeviceGetCount())
        )
    except pynvml.NVMLError:
        return ()
    finally:
        pynvml.nvmlShutdown()


def _gpu(pynvml, index: int) -> Gpu:  # type: ignore[no-untyped-def]  # noqa: ANN001
    handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    major, minor = pynvml.nvmlDeviceGetCudaComputeCapability(handle)

    def optional(read: Callable[[object], int]) -> int | None:
        try:
            return read(handle)
        except pynvml.NVMLError:
            return None

    cap_mw = optional(pynvml.nvmlDeviceGetEnforcedPowerLimit)
    return Gpu(
        name=str(pynvml.nvmlDeviceGetName(handle)),
        memory_bytes=int(pynvml.nvmlDeviceGetMemoryInfo(handle).total),
        driver=str(pynvml.nvmlSystemGetDriverVersion()),
        compute_capability=f"{major}.{minor}",
        power_cap_w=cap_mw / 1000 if cap_mw is not None else None,
    )
