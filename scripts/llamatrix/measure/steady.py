"""Whether a card has come to its steady state, and what disturbed it after that."""

import statistics
from collections.abc import Sequence

from llamatrix.engines.outcome import SpeedSample
from llamatrix.measure.energy import test_window
from llamatrix.measure.gpu_sample import GpuSample
from llamatrix.measure.telemetry import Telemetry
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
