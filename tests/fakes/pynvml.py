"""A fake of NVIDIA's library with any cards; a query for a missing key fails.

The cards are the JSON list in `FAKE_NVML`, or `CARDS`; `processes` of a card are pairs of
id and bytes. `INIT_FAILS` simulates a missing driver: True, or NVIDIA's error number.
"""

import json
import os
import time
from types import SimpleNamespace
from typing import Any

NVML_CLOCK_SM = 1
NVML_CLOCK_MEM = 2
NVML_TEMPERATURE_GPU = 0

H200: dict[str, Any] = {
    "name": "NVIDIA H200",
    "memory": 143771 * 2**20,
    "capability": (9, 0),
    "cap_mw": 700_000,
    "default_mw": 700_000,
    "power_mw": 120_000,
    "sm_mhz": 1980,
    "memory_mhz": 3201,
    "celsius": 40,
    "reasons": 0,
    "used": 600 * 2**20,
    "processes": [],
}
CARDS: list[dict[str, Any]] = json.loads(os.environ.get("FAKE_NVML", "[]"))
INIT_FAILS: bool | int = False
open_count = 0
"""Inits less shutdowns."""


class NVMLError(Exception):
    value: int | None = None


def nvmlInit() -> None:  # noqa: N802
    global open_count  # noqa: PLW0603
    if INIT_FAILS:
        error = NVMLError("Driver Not Loaded")
        error.value = None if INIT_FAILS is True else INIT_FAILS
        raise error
    open_count += 1


def nvmlShutdown() -> None:  # noqa: N802
    global open_count  # noqa: PLW0603
    open_count -= 1


def nvmlDeviceGetCount() -> int:  # noqa: N802
    return len(CARDS)


def nvmlDeviceGetHandleByIndex(index: int) -> int:  # noqa: N802
    return index


def nvmlSystemGetDriverVersion() -> str:  # noqa: N802
    return "580.1"


def _value(index: int, key: str) -> Any:  # noqa: ANN401
    if key not in CARDS[index]:
        raise NVMLError("Not Supported")
    return CARDS[index][key]


def nvmlDeviceGetName(index: int) -> str:  # noqa: N802
    return str(_value(index, "name"))


def nvmlDeviceGetUUID(index: int) -> str:  # noqa: N802
    return str(_value(index, "uuid"))


def nvmlDeviceGetCudaComputeCapability(index: int) -> tuple[int, int]:  # noqa: N802
    major, minor = _value(index, "capability")
    return major, minor


def nvmlDeviceGetMemoryInfo(index: int) -> SimpleNamespace:  # noqa: N802
    return SimpleNamespace(total=_value(index, "memory"), used=_value(index, "used"))


def nvmlDeviceGetEnforcedPowerLimit(index: int) -> int:  # noqa: N802
    return int(_value(index, "cap_mw"))


def nvmlDeviceGetPowerManagementDefaultLimit(index: int) -> int:  # noqa: N802
    return int(_value(index, "default_mw"))


def nvmlDeviceGetPowerUsage(index: int) -> int:  # noqa: N802
    return int(_value(index, "power_mw"))


def nvmlDeviceGetTotalEnergyConsumption(index: int) -> int:  # noqa: N802
    """Grow at the card's power, where it has an `energy` key at all."""
    return int(_value(index, "energy") + time.monotonic() * _value(index, "power_mw"))


def nvmlDeviceGetTemperature(index: int, kind: int) -> int:  # noqa: N802
    assert kind == NVML_TEMPERATURE_GPU
    return int(_value(index, "celsius"))


def nvmlDeviceGetClockInfo(index: int, kind: int) -> int:  # noqa: N802
    return int(_value(index, "sm_mhz" if kind == NVML_CLOCK_SM else "memory_mhz"))


def nvmlDeviceGetCurrentClocksThrottleReasons(index: int) -> int:  # noqa: N802
    return int(_value(index, "reasons"))


def nvmlDeviceGetComputeRunningProcesses(index: int) -> list[SimpleNamespace]:  # noqa: N802
    return [
        SimpleNamespace(pid=pid, usedGpuMemory=used)
        for pid, used in _value(index, "processes")
    ]
