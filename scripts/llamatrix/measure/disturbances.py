"""What makes a measurement doubtful: load of others, stolen time, heat, falling clocks."""

import contextlib
import os
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import msgspec

from llamatrix.engines.outcome import SpeedSample
from llamatrix.measure.telemetry import GpuSample, Telemetry, samples_of_test
from llamatrix.measuring import measuring_processes
from llamatrix.units import bytes_text

_CLOCK_DROP = 0.05
_HARMLESS = {"gpu_idle", "applications_clocks_setting"}
_STOLEN_LIMIT_PERCENT = 5.0
TOLERATED_PERCENT = 10.0
"""Default limit of the background load beside a measurement, in percent of all cores."""
_TRANSIENT = ("other processes", "thermal", "hw_slowdown", "power_brake")
"""Words of those GPU disturbances that come and go."""


def disturbances(telemetry: Telemetry, sample: SpeedSample | None) -> tuple[str, ...]:
    """Return the reasons to doubt a test, observed while its repetitions ran.

    Clocks mean little where a test failed (no sample): they are left out then.
    """
    reasons = _other_processes(telemetry.gpu)
    if sample:
        readings = samples_of_test(telemetry, sample)
        reasons += [*_throttle_reasons(readings), *_clock_drops(readings)]
    return tuple(reasons)


def disturbances_throughout(telemetry: Telemetry) -> tuple[str, ...]:
    """Return the reasons to doubt a session, which has pauses in which clocks may fall."""
    return (*_other_processes(telemetry.gpu), *_throttle_reasons(telemetry.gpu))


def _other_processes(readings: Sequence[GpuSample]) -> list[str]:
    most = max((reading.others or 0 for reading in readings), default=0)
    if not most:
        return []
    size = max((reading.other_bytes or 0 for reading in readings), default=0)
    memory = f", holding {bytes_text(size)}" if size else ""
    return [f"other processes on the card: {most}{memory}"]


def _throttle_reasons(readings: Sequence[GpuSample]) -> list[str]:
    reasons = {reason for reading in readings for reason in reading.throttle or ()}
    return [f"throttled: {reason}" for reason in sorted(reasons - _HARMLESS)]


def _clock_drops(readings: Sequence[GpuSample]) -> list[str]:
    drops = []
    for index in sorted({reading.index for reading in readings}):
        clocks = [
            reading.sm_mhz
            for reading in readings
            if reading.index == index
            and reading.sm_mhz is not None
            and "gpu_idle" not in (reading.throttle or ())
        ]
        if clocks and min(clocks) < (1 - _CLOCK_DROP) * statistics.median(clocks):
            drops.append(
                f"SM clock fell to {min(clocks)} MHz (median "
                f"{statistics.median(clocks):.0f} MHz)"
            )
    return drops


class Load(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Load of the machine while one process ran, in percent of all cores' time."""

    foreign_percent: float | None = None
    """CPU time of processes that are not ours; None where the kernel reports none."""
    stolen_percent: float | None = None
    """CPU time that the hypervisor gave to other guests."""
    throttled: int = 0
    """Number of times that the processor slowed down because of heat."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Mark:
    """The counters at one moment, in seconds of CPU time."""

    total_s: float
    busy_s: float
    stolen_s: float
    own_s: float
    throttled: int
    processes: tuple[int, ...] = ()
    """Whose CPU time `own_s` is, their descendants' included."""


class Watch(Protocol):
    """Measures the load of the machine between two moments."""

    def mark(self) -> Mark: ...

    def since(self, begin: Mark) -> Load: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class KernelWatch:
    """Reads the kernel's counters."""

    cores: Path = Path("/sys/devices/system/cpu")

    def mark(self) -> Mark:
        return self._mark((os.getpid(), *measuring_processes()))

    def _mark(self, processes: tuple[int, ...]) -> Mark:
        import psutil

        times = psutil.cpu_times()
        # `user` and `nice` contain the time of guests; only Linux reports stolen time
        stolen_s = getattr(times, "steal", 0.0)
        guests_s = getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)
        total_s = sum(times) - guests_s
        away_s = times.idle + getattr(times, "iowait", 0.0) + stolen_s
        return Mark(
            total_s=total_s,
            busy_s=total_s - away_s,
            stolen_s=stolen_s,
            own_s=_cpu_s(processes),
            throttled=self._throttled(),
            processes=processes,
        )

    def since(self, begin: Mark) -> Load:
        return load_between(begin, self._mark(begin.processes))

    def _throttled(self) -> int:
        # psutil reports temperatures, but not how often they slowed a core down
        files = self.cores.glob("cpu*/thermal_throttle/core_throttle_count")
        return sum(int(file.read_text()) for file in files)


def _cpu_s(processes: Sequence[int]) -> float:
    """Return the CPU time of processes and their descendants, ended or running.

    Besides ours they are those that measure on other cards of this host: whether they
    disturb is found by `invoke cross-talk`, and they are no unknown load.
    """
    import psutil

    total_s = 0.0
    for root in set(processes):
        with contextlib.suppress(psutil.Error):
            this = psutil.Process(root)
            for process in (this, *this.children(recursive=True)):
                with contextlib.suppress(psutil.Error):
                    times = process.cpu_times()
                    total_s += times.user + times.system
                    total_s += times.children_user + times.children_system
    return total_s


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
    """Return why a process does not count; empty where it counts.

    A card at its power limit is in its steady state and stays there: this alone does not
    disturb a pair.
    """
    other_percent = load.foreign_percent or 0.0
    if other_percent > tolerated_percent:
        return (
            f"background CPU load {other_percent:.0f} % of all cores "
            f"(limit: {tolerated_percent:.0f} %)"
        )
    stolen = load.stolen_percent or 0.0
    if stolen > max(tolerated_percent, _STOLEN_LIMIT_PERCENT):
        return f"the hypervisor took {stolen:.0f} % of the CPU time"
    if load.throttled:
        return f"the processor throttled {load.throttled} times"
    return "; ".join(
        reason
        for reason in telemetry.disturbances
        if any(word in reason for word in _TRANSIENT)
    )
