"""What the machine did meanwhile: CPU and GPU, sampled beside a program."""

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from threading import Event, Lock, Thread
from types import ModuleType

import msgspec

from llamatrix.nvml import Card, GpuProcess, find_library, open_cards


class GpuSample(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """None where the card does not tell."""

    at_s: float
    """Seconds since the sampler was started."""
    index: int = 0
    """Which card."""
    sm_mhz: int | None = None
    memory_mhz: int | None = None
    power_w: float | None = None
    energy_mj: int | None = None
    """Since the driver was loaded: only differences mean something."""
    celsius: int | None = None
    throttle: tuple[str, ...] | None = None
    """Why the clocks are not higher, by nvidia-smi's names; empty for no reason."""
    used_bytes: int | None = None
    """Of the card's memory, by all, the driver included."""
    own_bytes: int | None = None
    """By the measured program; None also where processes were not looked at."""
    others: int | None = None
    """How many processes of others are on the card; None where not looked at."""
    other_bytes: int | None = None


class GpuProbe:
    """Reads all cards. Processes there are ours, or of others.

    Ours descend from this process. One that the machine's process table does not show
    (a container sees other numbers than the driver) is another's where it was on the
    card before, and else taken as ours.
    """

    def __init__(self, library: ModuleType | None) -> None:
        self._held = ExitStack()
        self._cards = self._held.enter_context(open_cards(library))
        self._ours: dict[int, bool] = {}
        """What was found out of each process id."""
        self._present = {
            process.pid for card in self._cards for process in card.processes or ()
        }

    @property
    def count(self) -> int:
        return len(self._cards)

    def close(self) -> None:
        self._held.close()
        self._cards = ()

    def read(self, at_s: float, *, processes: bool) -> tuple[GpuSample, ...]:
        """One sample of each card; who is on it is dearer to ask than the rest."""
        return tuple(
            self._sample(card, at_s, card.processes if processes else None)
            for card in self._cards
        )

    def _sample(
        self, card: Card, at_s: float, found: tuple[GpuProcess, ...] | None
    ) -> GpuSample:
        ours = [one for one in found or () if self._is_ours(one.pid)]
        others = [one for one in found or () if not self._is_ours(one.pid)]
        return GpuSample(
            at_s=at_s,
            index=card.index,
            sm_mhz=card.sm_mhz,
            memory_mhz=card.memory_mhz,
            power_w=card.power_w,
            energy_mj=card.energy_mj,
            celsius=card.celsius,
            throttle=card.throttle_reasons,
            used_bytes=card.used_bytes,
            own_bytes=_sum(ours),
            others=None if found is None else len(others),
            other_bytes=_sum(others),
        )

    def _is_ours(self, pid: int) -> bool:
        if pid not in self._ours:
            self._ours[pid] = self._find_out(pid)
        return self._ours[pid]

    def _find_out(self, pid: int) -> bool:
        import psutil

        try:
            line = {one.pid for one in psutil.Process(pid).parents()} | {pid}
        except psutil.Error:
            return pid not in self._present
        return os.getpid() in line


def _sum(processes: list[GpuProcess]) -> int | None:
    told = [one.used_bytes for one in processes if one.used_bytes is not None]
    return sum(told) if told else None


_INTERVAL_S = 1.0
_GPU_INTERVAL_S = 1.0
"""Four times a second took 2.0 % of a core beside an H200 (2026-11-23)."""


class CpuSample(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    at_s: float
    """Seconds since the measured program was started."""
    load_percent: float
    """Busy time of all cores together since the sample before; 100 is all busy."""
    mhz: float | None = None
    """Mean over the cores; None where the kernel shows no frequency."""


class WarmUp(msgspec.Struct, frozen=True, kw_only=True):
    """What was done before, that the card be in its steady state."""

    seconds: float
    steady: bool
    """Whether clock and temperature had stopped moving when the time was over."""
    idle_w: float | None = None
    """Power of all cards together at rest, right before; None where not told."""


class Telemetry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    cpu: tuple[CpuSample, ...] = ()
    gpu: tuple[GpuSample, ...] = ()
    """By time, of all cards; the last were taken when the result came."""
    gpu_before: tuple[GpuSample, ...] = ()
    """Of each card, before the program was started: what it held already."""
    gpu_begin: tuple[GpuSample, ...] = ()
    """Of each card, when the result before this one came, or sampling began.

    Nothing of it is this result's but where its counters stood.
    """
    warm_up: WarmUp | None = None
    """None where nothing was warmed up."""
    disturbances: tuple[str, ...] = ()
    """What makes the result doubtful; empty for nothing, or nothing seen."""


class Sampler:
    """Samples on a thread of its own until it is stopped: once a second."""

    def __init__(
        self, *, interval_s: float = _INTERVAL_S, library: ModuleType | None = None
    ) -> None:
        self._begin = time.monotonic()
        self._probe = GpuProbe(library)
        self._cpu: list[CpuSample] = []
        self._gpu: list[GpuSample] = []
        self._guard = Lock()
        self._cpu_every_s = interval_s
        self._every_s = min(
            interval_s, _GPU_INTERVAL_S if self._probe.count else interval_s
        )
        self._stop = Event()
        self._thread = Thread(target=self._sample_on, daemon=True)
        self.cpu_s = 0.0
        """CPU time that the thread has taken: the cost of sampling."""
        self.before = self._probe.read(0.0, processes=True)
        self._begun = self.before

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()
        self._probe.close()

    def since_last_take(self) -> Telemetry:
        """The samples since the last call, at least one: they belong to one test."""
        self._sample_gpus(processes=True)
        with self._guard:
            cpu, self._cpu = self._cpu, []
            gpu, self._gpu = self._gpu, []
            begun, self._begun = self._begun, tuple(gpu[-self._probe.count :])
        return Telemetry(
            cpu=tuple(cpu or [self._cpu_sample()]),
            gpu=tuple(gpu),
            gpu_before=self.before,
            gpu_begin=begun,
        )

    def _sample_on(self) -> None:
        next_cpu_s = self._cpu_every_s
        while not self._stop.wait(self._every_s):
            full = self._now() >= next_cpu_s
            self._sample_gpus(processes=full)
            if full:
                next_cpu_s = self._now() + self._cpu_every_s - self._every_s / 2
                sample = self._cpu_sample()
                with self._guard:
                    self._cpu.append(sample)
            self.cpu_s = time.thread_time()

    def _sample_gpus(self, *, processes: bool) -> None:
        with self._guard:
            self._gpu += self._probe.read(self._now(), processes=processes)

    def _cpu_sample(self) -> CpuSample:
        import psutil

        frequency: float | None = getattr(psutil.cpu_freq(), "current", None)
        return CpuSample(
            at_s=self._now(),
            load_percent=psutil.cpu_percent(),
            mhz=round(frequency, 1) if frequency is not None else None,
        )

    def _now(self) -> float:
        return round(time.monotonic() - self._begin, 3)


def sampling_share(seconds: float) -> float:
    """The share of one core that sampling takes, measured over some seconds."""
    with sampling() as sampler:
        time.sleep(seconds)
        return sampler.cpu_s / seconds


@contextmanager
def sampling() -> Iterator[Sampler]:
    """Sample CPU and GPUs of this machine until the block is left."""
    sampler = Sampler(library=find_library())
    sampler.start()
    try:
        yield sampler
    finally:
        sampler.stop()
