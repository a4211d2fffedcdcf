"""Whether a card has come to its steady state, and what disturbed it after that."""

import contextlib
import os
import resource
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import msgspec

from llamatrix.engines.outcome import SpeedSample
from llamatrix.measure.energy import test_window
from llamatrix.measure.telemetry import GpuSample, Telemetry
from llamatrix.units import bytes_text

WINDOW_S = 5.0
"""What is looked at: the last seconds."""
_CLOCK_DRIFT = 0.01
"""Of the clock's mean, over the window."""
_CELSIUS_DRIFT = 1.0
"""Over the window; sensors tell whole degrees."""
_CLOCK_DROP = 0.05
_HARMLESS = {"gpu_idle", "applications_clocks_setting"}


def is_steady(samples: Sequence[GpuSample]) -> bool:
    """Whether clock and temperature of every card have stopped moving, under load.

    A card that tells neither is steady once the window is full.
    """
    if not samples:
        return False
    end_s = samples[-1].at_s
    if end_s - samples[0].at_s < WINDOW_S:
        return False
    recent = [one for one in samples if one.at_s >= end_s - WINDOW_S]
    return all(
        _is_card_steady([one for one in recent if one.index == index])
        for index in {one.index for one in recent}
    )


def disturbances(telemetry: Telemetry, sample: SpeedSample | None) -> tuple[str, ...]:
    """What makes a result doubtful, in words; while its repetitions ran.

    Without a sample (a failure) nothing is said of clocks, which then mean little.
    """
    window = test_window(telemetry, sample) if sample else None
    begin_s = window[0] if window else 0.0
    samples = [one for one in telemetry.gpu if one.at_s >= begin_s]
    found = [*_neighbours(telemetry.gpu)]
    if sample:
        found += [*_throttled(samples), *_slowed(samples)]
    return tuple(found)


def disturbances_throughout(telemetry: Telemetry) -> tuple[str, ...]:
    """The same where the whole time was measured, and by no program that tells rows.

    Nothing is said of clocks that fall: a session has pauses.
    """
    return (*_neighbours(telemetry.gpu), *_throttled(telemetry.gpu))


def _is_card_steady(samples: Sequence[GpuSample]) -> bool:
    if any("gpu_idle" in (one.throttle or ()) for one in samples):
        return False
    clocks = [one.sm_mhz for one in samples if one.sm_mhz is not None]
    degrees = [one.celsius for one in samples if one.celsius is not None]
    clock_moves = _rise(clocks) > _CLOCK_DRIFT * statistics.fmean(clocks or [1])
    return not clock_moves and _rise(degrees) <= _CELSIUS_DRIFT


def _rise(values: Sequence[int]) -> float:
    """How far the last half lies from the first: noise of single readings averages."""
    half = len(values) // 2
    if not half:
        return 0.0
    return abs(statistics.fmean(values[-half:]) - statistics.fmean(values[:half])) * 2


def _neighbours(samples: Sequence[GpuSample]) -> list[str]:
    most = max((one.others or 0 for one in samples), default=0)
    if not most:
        return []
    held = max((one.other_bytes or 0 for one in samples), default=0)
    size = f", holding {bytes_text(held)}" if held else ""
    return [f"other processes on the card: {most}{size}"]


def _throttled(samples: Sequence[GpuSample]) -> list[str]:
    reasons = {reason for one in samples for reason in one.throttle or ()}
    return [f"throttled: {reason}" for reason in sorted(reasons - _HARMLESS)]


def _slowed(samples: Sequence[GpuSample]) -> list[str]:
    found = []
    for index in sorted({one.index for one in samples}):
        clocks = [
            one.sm_mhz
            for one in samples
            if one.index == index
            and one.sm_mhz is not None
            and "gpu_idle" not in (one.throttle or ())
        ]
        if clocks and min(clocks) < (1 - _CLOCK_DROP) * statistics.median(clocks):
            found.append(
                f"SM clock fell to {min(clocks)} MHz (median "
                f"{statistics.median(clocks):.0f} MHz)"
            )
    return found


_STAT = Path("/proc/stat")
_CORES = Path("/sys/devices/system/cpu")
_IDLE, _IOWAIT, _STEAL = 3, 4, 7
_FIELDS = 8
"""user nice system idle iowait irq softirq steal; guest time is in user already."""
_STOLEN_LIMIT_PERCENT = 5.0
TOLERATED_PERCENT = 10.0
"""Foreign load that a measurement may have beside it, of all cores, unless told otherwise."""
_GPU_WORDS = ("other processes", "thermal", "hw_slowdown", "power_brake")
"""Which of `disturbances` come and go."""


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
