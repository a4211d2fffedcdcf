"""Samples of a synthetic GPU whose clock and temperature change at a steady rate."""

from llamatrix.measure.telemetry import GpuSample


def course(
    seconds: int, *, mhz: float = 0.0, celsius: float = 0.0, index: int = 0
) -> list[GpuSample]:
    """Return one sample per second; `mhz` and `celsius` are the changes per second."""
    return [
        GpuSample(
            at_s=second,
            index=index,
            sm_mhz=round(1900 + mhz * second),
            celsius=round(50 + celsius * second),
            throttle=(),
        )
        for second in range(seconds)
    ]
