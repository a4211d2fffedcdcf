"""Joules of a test or a trial: from the cards' energy counters, else sampled power.

A test's repetitions end at the moment its row is printed; warm-up and loading lie before
them. Over that window the counter is read by linear interpolation between samples.
Generation has next to no warm-up: its window begins before the first sample of its own,
and is read from the one that was taken when the row before came.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

from llamatrix.engines.outcome import SpeedSample
from llamatrix.measure.telemetry import GpuSample, Telemetry

_SHORTEST_S = 1.0
"""Counters and power readings are too coarse for windows below this."""
_IDLE = "gpu_idle"

Points = Sequence[tuple[float, float]]


class EnergySource(StrEnum):
    COUNTER = "energy counter"
    POWER = "integrated power"


@dataclass(frozen=True, kw_only=True, slots=True)
class Energy:
    """Of all cards together, idle share included."""

    joules: float
    seconds: float
    source: EnergySource

    @property
    def mean_w(self) -> float:
        return self.joules / self.seconds


@dataclass(frozen=True, kw_only=True, slots=True)
class RowEnergy(Energy):
    """Of a row's repetitions."""

    tokens: int
    """Prompt tokens or generated ones, whichever the test has."""

    @property
    def joules_per_token(self) -> float:
        return self.joules / self.tokens


def test_window(
    telemetry: Telemetry, sample: SpeedSample
) -> tuple[float, float] | None:
    """Begin and end of the repetitions, in the samples' seconds; None without GPU."""
    if not telemetry.gpu:
        return None
    end_s = max(reading.at_s for reading in telemetry.gpu)
    return end_s - sum(sample.nanoseconds) / 1e9, end_s


def held_bytes(telemetry: Telemetry, sample: SpeedSample | None) -> int | None:
    """Return the most GPU memory that the process held during its repetitions.

    Before them it may still hold what the test before needed. Without a sample (a
    failure) the whole time counts; None where the driver tells nothing.
    """
    window = test_window(telemetry, sample) if sample else None
    begin_s = window[0] if window else 0.0
    held = (one.own_bytes for one in telemetry.gpu if one.at_s >= begin_s)
    return max((count for count in held if count is not None), default=None)


def energy_of(telemetry: Telemetry, sample: SpeedSample) -> RowEnergy | None:
    """What the repetitions of a test took; None where that cannot be told.

    It cannot for tests shorter than a second, nor where a card tells neither its
    energy nor its power, nor where the samples begin after the test.
    """
    window = test_window(telemetry, sample)
    found = window and _energy_between(telemetry, window)
    if not found:
        return None
    return RowEnergy(
        joules=found.joules,
        seconds=found.seconds,
        source=found.source,
        tokens=sum(sample.tokens),
    )


def energy_of_all(telemetry: Telemetry) -> Energy | None:
    """What the cards took from the first sample to the last; None as above."""
    moments = [one.at_s for one in (*telemetry.gpu_begin, *telemetry.gpu)]
    if not moments:
        return None
    return _energy_between(telemetry, (min(moments), max(moments)))


def _energy_between(telemetry: Telemetry, window: tuple[float, float]) -> Energy | None:
    if window[1] - window[0] < _SHORTEST_S:
        return None
    known = (*telemetry.gpu_begin, *telemetry.gpu)
    for source, read in (
        (EnergySource.COUNTER, _from_counter),
        (EnergySource.POWER, _from_power),
    ):
        parts = [read(samples, window) for samples in _by_card(known).values()]
        told = [part for part in parts if part is not None]
        if len(told) == len(parts):
            return Energy(
                joules=sum(told), seconds=window[1] - window[0], source=source
            )
    return None


def idle_w(samples: Iterable[GpuSample]) -> float | None:
    """Mean power of all cards together while the driver called them idle."""
    means = []
    for one_card in _by_card(samples).values():
        idle = [
            sample.power_w
            for sample in one_card
            if sample.power_w is not None and _IDLE in (sample.throttle or ())
        ]
        if not idle:
            return None
        means.append(sum(idle) / len(idle))
    return sum(means) if means else None


def _by_card(samples: Iterable[GpuSample]) -> dict[int, list[GpuSample]]:
    cards: dict[int, list[GpuSample]] = defaultdict(list)
    for sample in samples:
        cards[sample.index].append(sample)
    return cards


def _from_counter(
    samples: Sequence[GpuSample], window: tuple[float, float]
) -> float | None:
    points = _points(
        samples, lambda one: None if one.energy_mj is None else one.energy_mj / 1000
    )
    begin, end = (_at(points, moment) for moment in window)
    if begin is None or end is None or end <= begin:
        return None
    return end - begin


def _from_power(
    samples: Sequence[GpuSample], window: tuple[float, float]
) -> float | None:
    """By trapezoids."""
    points = _points(samples, lambda one: one.power_w)
    edges = [(moment, _at(points, moment)) for moment in window]
    inside = [point for point in points if window[0] < point[0] < window[1]]
    line = [edges[0], *inside, edges[1]]
    joules = 0.0
    for (from_s, from_w), (to_s, to_w) in pairwise(line):
        if from_w is None or to_w is None:
            return None
        joules += (to_s - from_s) * (from_w + to_w) / 2
    return joules


def _points(
    samples: Sequence[GpuSample], read: Callable[[GpuSample], float | None]
) -> list[tuple[float, float]]:
    return [
        (sample.at_s, value)
        for sample in samples
        if (value := read(sample)) is not None
    ]


def _at(points: Points, moment: float) -> float | None:
    """The value between the samples around a moment; None outside of them."""
    for (from_s, low), (to_s, high) in pairwise(points):
        if from_s <= moment <= to_s and to_s > from_s:
            return low + (high - low) * (moment - from_s) / (to_s - from_s)
    return None
