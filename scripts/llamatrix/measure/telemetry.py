"""What the machine did meanwhile: CPU load and frequency, sampled beside a program."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

_INTERVAL_S = 1.0


class CpuSample(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    at_s: float
    """Seconds since the measured program was started."""
    load_percent: float
    """Busy time of all cores together since the sample before; 100 is all busy."""
    mhz: float | None = None
    """Mean over the cores; None where the kernel shows no frequency."""


class Telemetry(msgspec.Struct, frozen=True, kw_only=True):
    cpu: tuple[CpuSample, ...] = ()


class Sampler:
    """Samples once a second on a thread of its own until it is stopped."""

    def __init__(self, interval_s: float = _INTERVAL_S) -> None:
        self._interval_s = interval_s
        self._begin = time.monotonic()
        self._taken: list[CpuSample] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample_on, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def since_last_take(self) -> Telemetry:
        """The samples since the last call, at least one: they belong to one test."""
        taken, self._taken = self._taken, []
        return Telemetry(cpu=tuple(taken or [self._one()]))

    def _sample_on(self) -> None:
        while not self._stop.wait(self._interval_s):
            self._taken.append(self._one())

    def _one(self) -> CpuSample:
        import psutil

        frequency: float | None = getattr(psutil.cpu_freq(), "current", None)
        return CpuSample(
            at_s=round(time.monotonic() - self._begin, 3),
            load_percent=psutil.cpu_percent(),
            mhz=round(frequency, 1) if frequency is not None else None,
        )


@contextmanager
def sampling() -> Iterator[Sampler]:
    sampler = Sampler()
    sampler.start()
    try:
        yield sampler
    finally:
        sampler.stop()
