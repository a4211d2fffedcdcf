"""Joules of a test or a trial, from the cards' energy counters or from sampled power.

A test's repetitions end when its row is printed; warm-up and loading come before them.
Over that window the counter is interpolated linearly between samples. Generation has
almost no warm-up: its window begins before its own first sample, so it is read from the
sample that was taken when the previous row arrived.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from itertools import pairwise

from llamatrix.engines.outcome import SpeedSample
from llamatrix.measure.telemetry import GpuSample, Telemetry, test_window

_SHORTEST_S = 1.0
"""Counters and power readings are too coarse for shorter windows."""

Window = tuple[float, float]
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
    """Prompt or generated tokens, whichever the test has."""

    @property
    def joules_per_token(self) -> float:
        return self.joules / self.tokens


def energy_of(telemetry: Telemetry, sample: SpeedSample) -> RowEnergy | None:
    """Return the energy of a test's repetitions.

    None for tests shorter than a second, for cards that report neither energy nor power,
    and where the samples begin after the test.
    """
    window = test_window(telemetry, sample)
    energy = window and _energy_between(telemetry, window)
    if not energy:
        return None
    return RowEnergy(**asdict(energy), tokens=sum(sample.tokens))


def energy_of_all(telemetry: Telemetry) -> Energy | None:
    """Return the energy from the first sample to the last; None as in `energy_of`."""
    moments = [sample.at_s for sample in (*telemetry.gpu_begin, *telemetry.gpu)]
    if not moments:
        return None
    return _energy_between(telemetry, (min(moments), max(moments)))


def _energy_between(telemetry: Telemetry, window: Window) -> Energy | None:
    seconds = window[1] - window[0]
    if seconds < _SHORTEST_S:
        return None
    cards = _by_card((*telemetry.gpu_begin, *telemetry.gpu)).values()
    for source, read in (
        (EnergySource.COUNTER, _from_counter),
        (EnergySource.POWER, _from_power),
    ):
        joules = [read(samples, window) for samples in cards]
        known = [value for value in joules if value is not None]
        if len(known) == len(joules):
            return Energy(joules=sum(known), seconds=seconds, source=source)
    return None


def idle_w(samples: Iterable[GpuSample]) -> float | None:
    """Return the mean power of all cards together while the driver calls them idle."""
    means = []
    for card in _by_card(samples).values():
        watts = [
            sample.power_w
            for sample in card
            if sample.power_w is not None and "gpu_idle" in (sample.throttle or ())
        ]
        if not watts:
            return None
        means.append(sum(watts) / len(watts))
    return sum(means) if means else None


def _by_card(samples: Iterable[GpuSample]) -> dict[int, list[GpuSample]]:
    cards: dict[int, list[GpuSample]] = defaultdict(list)
    for sample in samples:
        cards[sample.index].append(sample)
    return cards


def _from_counter(samples: Sequence[GpuSample], window: Window) -> float | None:
    points = _points(samples, lambda sample: sample.energy_mj)
    begin_mj, end_mj = (_value_at(points, moment) for moment in window)
    if begin_mj is None or end_mj is None or end_mj <= begin_mj:
        return None
    return (end_mj - begin_mj) / 1000


def _from_power(samples: Sequence[GpuSample], window: Window) -> float | None:
    """Integrate the power by trapezoids."""
    points = _points(samples, lambda sample: sample.power_w)
    begin, end = ((moment, _value_at(points, moment)) for moment in window)
    inside = [point for point in points if window[0] < point[0] < window[1]]
    joules = 0.0
    for (from_s, from_w), (to_s, to_w) in pairwise([begin, *inside, end]):
        if from_w is None or to_w is None:
            return None
        joules += (to_s - from_s) * (from_w + to_w) / 2
    return joules


def _points(
    samples: Sequence[GpuSample], read: Callable[[GpuSample], float | None]
) -> Points:
    return [
        (sample.at_s, value)
        for sample in samples
        if (value := read(sample)) is not None
    ]


def _value_at(points: Points, moment: float) -> float | None:
    """Interpolate between the samples around a moment; None outside of them."""
    for (from_s, low), (to_s, high) in pairwise(points):
        if from_s <= moment <= to_s and to_s > from_s:
            return low + (high - low) * (moment - from_s) / (to_s - from_s)
    return None
