"""Brings the cards to their steady state by computing on them; the results are discarded."""

import statistics
import time
from collections.abc import Sequence
from contextlib import closing
from types import ModuleType

from llamatrix.engines.protocol import Bench
from llamatrix.engines.registry import ENGINE
from llamatrix.measure.energy import idle_w
from llamatrix.measure.telemetry import GpuProbe, GpuSample, WarmUp
from llamatrix.nvml import find_library

WINDOW_S = 5.0
"""The steady state is judged by the samples of the last seconds."""
_CLOCK_DRIFT = 0.01
"""Of the mean clock, over the window."""
_CELSIUS_DRIFT = 1.0
"""Over the window; sensors report whole degrees."""
_EVERY_S = 0.25
_REST_S = 2.0


def warm_up(
    bench: Bench, *, limit_s: float, library: ModuleType | None = None
) -> WarmUp | None:
    """Process prompts until clocks and temperature are stable, or the time is up.

    None without a GPU.
    """
    with closing(GpuProbe(library or find_library())) as probe:
        if not probe.count:
            return None
        resting = _resting_samples(probe)
        begin = time.monotonic()
        samples: list[GpuSample] = []
        steady = False
        with ENGINE.keep_busy(bench) as is_busy:
            while not steady and (busy := is_busy()) is not None:
                at_s = time.monotonic() - begin
                if at_s >= limit_s:
                    break
                if busy:
                    samples += probe.read(at_s, processes=False)
                steady = is_steady(samples)
                time.sleep(_EVERY_S)
        return WarmUp(
            seconds=round(time.monotonic() - begin, 3),
            steady=steady,
            idle_w=idle_w(resting),
        )


def _resting_samples(probe: GpuProbe) -> list[GpuSample]:
    """Sample the cards before anything of ours runs; the first half is skipped."""
    begin = time.monotonic()
    samples: list[GpuSample] = []
    while (at_s := time.monotonic() - begin) < _REST_S:
        if at_s > _REST_S / 2:
            samples += probe.read(at_s, processes=False)
        time.sleep(_EVERY_S)
    return samples


def is_steady(samples: Sequence[GpuSample]) -> bool:
    """Return whether clock and temperature of every card are stable under load.

    A card that reports neither is steady once the window is full.
    """
    if not samples:
        return False
    end_s = samples[-1].at_s
    if end_s - samples[0].at_s < WINDOW_S:
        return False
    recent = [sample for sample in samples if sample.at_s >= end_s - WINDOW_S]
    for index in {sample.index for sample in recent}:
        card = [sample for sample in recent if sample.index == index]
        if any("gpu_idle" in (sample.throttle or ()) for sample in card):
            return False
        clocks = [sample.sm_mhz for sample in card if sample.sm_mhz is not None]
        degrees = [sample.celsius for sample in card if sample.celsius is not None]
        clock_limit = _CLOCK_DRIFT * statistics.fmean(clocks or [1])
        if _drift(clocks) > clock_limit or _drift(degrees) > _CELSIUS_DRIFT:
            return False
    return True


def _drift(values: Sequence[int]) -> float:
    """Return how far the two halves differ, extrapolated to the window.

    Means of halves average the noise of single readings.
    """
    half = len(values) // 2
    if not half:
        return 0.0
    return abs(statistics.fmean(values[-half:]) - statistics.fmean(values[:half])) * 2
