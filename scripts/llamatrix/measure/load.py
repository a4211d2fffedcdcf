"""What else the machine did while a process measured: foreign load, stolen time, heat.

The busy time of all cores (`/proc/stat`, proc(5)) less the CPU time of this process, of
its children that have ended (getrusage(2)) and of those still running.
"""

import contextlib
import os
import resource
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import msgspec

from llamatrix.measure.telemetry import Telemetry

_STAT = Path("/proc/stat")
_CORES = Path("/sys/devices/system/cpu")
_IDLE, _IOWAIT, _STEAL = 3, 4, 7
_FIELDS = 8
"""user nice system idle iowait irq softirq steal; guest time is in user already."""
_STOLEN_LIMIT_PERCENT = 5.0
TOLERATED_PERCENT = 10.0
"""Foreign load that a measurement may have beside it, of all cores, unless told otherwise."""
_GPU_WORDS = ("other processes", "thermal", "hw_slowdown", "power_brake")
"""What of `measure/steady.py`'s disturbances comes and goes."""


class Load(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Over the life of one process, in percent of all cores' time together."""

    foreign_percent: float | None = None
    """CPU time of everything that is not ours; None where the kernel does not tell."""
    stolen_percent: float | None = None
    """Time that the hypervisor gave to others."""
    throttled: int = 0
    """Times that the processor slowed down because of heat."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Mark:
    """The counters at one moment, in seconds of CPU time."""

    total_s: float
    busy_s: float
    stolen_s: float
    own_s: float
    throttled: int


class Watch(Protocol):
    """Tells what happened on the machine since a mark."""

    def mark(self) -> Mark: ...

    def since(self, begin: Mark) -> Load: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class KernelWatch:
    """Reads the kernel's counters; a machine without them shows no load."""

    stat: Path = _STAT
    cores: Path = _CORES

    def mark(self) -> Mark:
        ticks = self._ticks()
        per_s = os.sysconf("SC_CLK_TCK")
        away = ticks[_IDLE] + ticks[_IOWAIT] + ticks[_STEAL]
        return Mark(
            total_s=sum(ticks) / per_s,
            busy_s=(sum(ticks) - away) / per_s,
            stolen_s=ticks[_STEAL] / per_s,
            own_s=_own_cpu_s(),
            throttled=self._throttled(),
        )

    def since(self, begin: Mark) -> Load:
        return load_between(begin, self.mark())

    def _ticks(self) -> list[int]:
        try:
            words = self.stat.read_text().split("\n", 1)[0].split()[1 : _FIELDS + 1]
        except OSError:
            words = []
        return [int(word) for word in words] or [0] * _FIELDS

    def _throttled(self) -> int:
        files = self.cores.glob("cpu*/thermal_throttle/core_throttle_count")
        return sum(int(file.read_text()) for file in files)


def load_between(begin: Mark, end: Mark) -> Load:
    total_s = end.total_s - begin.total_s
    throttled = end.throttled - begin.throttled
    if total_s <= 0:
        return Load(throttled=throttled)
    foreign_s = (end.busy_s - begin.busy_s) - (end.own_s - begin.own_s)
    return Load(
        foreign_percent=round(100 * max(foreign_s, 0.0) / total_s, 2),
        stolen_percent=round(100 * (end.stolen_s - begin.stolen_s) / total_s, 2),
        throttled=throttled,
    )


def disturbance(load: Load, telemetry: Telemetry, *, tolerated_percent: float) -> str:
    """Why a process does not count; empty where it does.

    A card at its power limit is in its steady state and stays there: that alone does
    not disturb a pair, and clock space shows what it did.
    """
    foreign = load.foreign_percent or 0.0
    if foreign > tolerated_percent:
        return (
            f"foreign CPU load {foreign:.0f} % of all cores "
            f"(tolerated: {tolerated_percent:.0f} %)"
        )
    stolen = load.stolen_percent or 0.0
    if stolen > max(tolerated_percent, _STOLEN_LIMIT_PERCENT):
        return f"the hypervisor took {stolen:.0f} % of the CPU time"
    if load.throttled:
        return f"the processor throttled {load.throttled} times"
    return "; ".join(
        reason
        for reason in telemetry.disturbances
        if any(word in reason for word in _GPU_WORDS)
    )


def _own_cpu_s() -> float:
    """CPU time of this process and of all that it started, ended or running."""
    import psutil

    total_s = 0.0
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
        used = resource.getrusage(who)
        total_s += used.ru_utime + used.ru_stime
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            times = child.cpu_times()
            total_s += times.user + times.system
    return total_s
