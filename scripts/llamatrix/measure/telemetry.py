"""CPU and GPU samples, taken on a thread while a program is measured."""

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from threading import Event, Lock, Thread
from types import ModuleType

import msgspec

from llamatrix.engines.outcome import SpeedSample
from llamatrix.nvml import Card, GpuProcess, find_library, open_cards

_INTERVAL_S = 1.0
_GPU_INTERVAL_S = 1.0
"""Four samples a second took 2.0 % of a core beside an H200 (2026-11-23)."""


class CpuSample(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    at_s: float
    """Seconds since the sampler started."""
    load_percent: float
    """Busy time of all cores since the previous sample; 100 means all cores are busy."""
    mhz: float | None = None
    """Mean over the cores; None where the kernel reports no frequency."""


class GpuSample(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One card at one moment; None where the driver reports no value."""

    at_s: float
    """Seconds since the sampler started."""
    index: int = 0
    sm_mhz: int | None = None
    memory_mhz: int | None = None
    power_w: float | None = None
    energy_mj: int | None = None
    """Since the driver was loaded, so only differences are meaningful."""
    celsius: int | None = None
    throttle: tuple[str, ...] | None = None
    """Reasons that limit the clocks, by nvidia-smi's names; empty for none."""
    used_bytes: int | None = None
    """Memory of the card in use by all processes and the driver."""
    own_bytes: int | None = None
    """Memory of the measured program; None also where processes were not listed."""
    others: int | None = None
    """Number of other users' processes; None where processes were not listed."""
    other_bytes: int | None = None


class WarmUp(msgspec.Struct, frozen=True, kw_only=True):
    """The load that brought the cards to their steady state before a measurement."""

    seconds: float
    steady: bool
    """Whether clock and temperature were stable when the warm-up ended."""
    idle_w: float | None = None
    """Idle power of all cards together, right before the warm-up."""


class Telemetry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    cpu: tuple[CpuSample, ...] = ()
    gpu: tuple[GpuSample, ...] = ()
    """By time, of all cards; the last ones were taken when the result arrived."""
    gpu_before: tuple[GpuSample, ...] = ()
    """One per card, taken before the program started: what was already in use."""
    gpu_begin: tuple[GpuSample, ...] = ()
    """One per card, taken when the previous result arrived or sampling began.

    Only their counters matter: they are where this result's counters start.
    """
    warm_up: WarmUp | None = None
    disturbances: tuple[str, ...] = ()
    """Reasons to doubt the result; empty where none was observed."""


def test_window(
    telemetry: Telemetry, sample: SpeedSample
) -> tuple[float, float] | None:
    """Return begin and end of a test's repetitions in sampler seconds.

    The repetitions end when the row is printed, which is when the last sample is taken.
    None without a GPU, and for a server's requests, whose prompts and answers alternate.
    """
    if not telemetry.gpu or sample.client_ns:
        return None
    end_s = max(reading.at_s for reading in telemetry.gpu)
    return end_s - sum(sample.nanoseconds) / 1e9, end_s


def samples_of_test(
    telemetry: Telemetry, sample: SpeedSample | None
) -> tuple[GpuSample, ...]:
    """Return the GPU samples of a test's repetitions; all of them for a failed test."""
    window = test_window(telemetry, sample) if sample else None
    begin_s = window[0] if window else 0.0
    return tuple(reading for reading in telemetry.gpu if reading.at_s >= begin_s)


def held_bytes(telemetry: Telemetry, sample: SpeedSample | None) -> int | None:
    """Return the peak GPU memory of the process during a test's repetitions.

    Before them the process may still hold what the previous test needed. None where the
    driver reports no memory.
    """
    readings = samples_of_test(telemetry, sample)
    known = (reading.own_bytes for reading in readings)
    return max((count for count in known if count is not None), default=None)


class GpuProbe:
    """Reads all cards and tells our processes on them from those of others.

    Ours descend from this process. A container can see other process ids than the driver
    reports: an id without an entry in the process table counts as another's if it was on
    the card when the probe was opened, and as ours otherwise.
    """

    def __init__(self, library: ModuleType | None) -> None:
        self._resources = ExitStack()
        self._cards = self._resources.enter_context(open_cards(library))
        self._ours: dict[int, bool] = {}
        self._present = {
            process.pid for card in self._cards for process in card.processes or ()
        }

    @property
    def count(self) -> int:
        return len(self._cards)

    def close(self) -> None:
        self._resources.close()
        self._cards = ()

    def read(self, at_s: float, *, processes: bool) -> tuple[GpuSample, ...]:
        """Return one sample per card; listing the processes costs more than the rest."""
        return tuple(
            self._sample(card, at_s, card.processes if processes else None)
            for card in self._cards
        )

    def _sample(
        self, card: Card, at_s: float, processes: tuple[GpuProcess, ...] | None
    ) -> GpuSample:
        ours = [process for process in processes or () if self._is_ours(process.pid)]
        others = [process for process in processes or () if process not in ours]
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
            own_bytes=_sum_bytes(ours),
            others=None if processes is None else len(others),
            other_bytes=_sum_bytes(others),
        )

    def _is_ours(self, pid: int) -> bool:
        import psutil

        if pid not in self._ours:
            try:
                ancestors = {parent.pid for parent in psutil.Process(pid).parents()}
                self._ours[pid] = os.getpid() in ancestors | {pid}
            except psutil.Error:
                self._ours[pid] = pid not in self._present
        return self._ours[pid]


def _sum_bytes(processes: list[GpuProcess]) -> int | None:
    known = [one.used_bytes for one in processes if one.used_bytes is not None]
    return sum(known) if known else None


class Sampler:
    """Takes a sample each second on its own thread until it is stopped."""

    def __init__(
        self, *, interval_s: float = _INTERVAL_S, library: ModuleType | None = None
    ) -> None:
        self._begin = time.monotonic()
        self._probe = GpuProbe(library)
        self._cpu: list[CpuSample] = []
        self._gpu: list[GpuSample] = []
        self._guard = Lock()
        self._cpu_interval_s = interval_s
        self._interval_s = min(
            interval_s, _GPU_INTERVAL_S if self._probe.count else interval_s
        )
        self._stop = Event()
        self._thread = Thread(target=self._run, daemon=True)
        self.cpu_s = 0.0
        """CPU time of the thread: the cost of sampling."""
        self.before = self._probe.read(0.0, processes=True)
        self._previous = self.before

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()
        self._probe.close()

    def since_last_take(self) -> Telemetry:
        """Return the samples since the last call, at least one: they belong to one test."""
        self._sample_gpus(processes=True)
        with self._guard:
            cpu, self._cpu = self._cpu, []
            gpu, self._gpu = self._gpu, []
            begin, self._previous = self._previous, tuple(gpu[-self._probe.count :])
        return Telemetry(
            cpu=tuple(cpu or [self._cpu_sample()]),
            gpu=tuple(gpu),
            gpu_before=self.before,
            gpu_begin=begin,
        )

    def _run(self) -> None:
        next_cpu_s = self._cpu_interval_s
        while not self._stop.wait(self._interval_s):
            with_cpu = self._now() >= next_cpu_s
            self._sample_gpus(processes=with_cpu)
            if with_cpu:
                next_cpu_s = self._now() + self._cpu_interval_s - self._interval_s / 2
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


@contextmanager
def sampling(*, cards: bool = True) -> Iterator[Sampler]:
    """Sample the CPU and the cards of this machine until the block is left.

    Without `cards`, only the CPU: for a program that uses none.
    """
    sampler = Sampler(library=find_library() if cards else None)
    sampler.start()
    try:
        yield sampler
    finally:
        sampler.stop()


def sampling_share(seconds: float) -> float:
    """Return the share of one core that sampling takes, measured over some seconds."""
    with sampling() as sampler:
        time.sleep(seconds)
        return sampler.cpu_s / seconds
