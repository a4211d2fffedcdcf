"""What the machine did meanwhile: CPU and GPU, sampled beside a program."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Lock, Thread
from types import ModuleType

import msgspec

from llamatrix.measure.gpu_sample import GpuProbe, GpuSample
from llamatrix.nvml import find_library

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
