"""Made-up processes: how samples vary inside one, from one to the next, and in time."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, variance
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True, slots=True)
class Noise:
    """Everything as a fraction of the speed, by its logarithm."""

    within_sd: float = 0.001
    """Between samples of one process."""
    between_sd: float = 0.007
    """Between the means of fresh processes."""
    drift: float = 0.0
    """What the first process gains from a cold machine; decays from there."""
    drift_processes: float = 3.0
    """After so many processes the gain has fallen to 37 %."""
    cycle: float = 0.0
    """What a disturbance of period four costs two processes in a row of every four."""


def measured_noise(processes: Sequence[Sequence[float]]) -> Noise:
    """Noise of real processes of one build: samples per process, two or more of each.

    One-way analysis of variance on the logs; a between-process part that comes out
    negative is 0. Drift is not told apart from the rest.
    """
    logs = [[math.log(value) for value in samples] for samples in processes]
    if len(logs) < 2 or min(map(len, logs)) < 2:  # noqa: PLR2004
        raise ValueError("noise: needs two processes of two samples each")
    within = fmean(variance(samples) for samples in logs)
    per_mean = fmean(1 / len(samples) for samples in logs)
    between = variance([fmean(samples) for samples in logs]) - within * per_mean
    return Noise(within_sd=math.sqrt(within), between_sd=math.sqrt(max(between, 0.0)))


def draw_logs(
    noise: Noise,
    *,
    runs: int,
    processes: int,
    repetitions: int,
    generator: "np.random.Generator",
) -> "NDArray[np.float64]":
    """Logs of samples, shape (runs, processes in order of time, repetitions).

    Process i: N(0, between) + drift * exp(-i / drift_processes), less `cycle` for two
    of every four, at a phase of each run's own; samples N(., within).
    """
    import numpy as np

    level = generator.normal(0.0, noise.between_sd, (runs, processes, 1))
    level += noise.drift * np.exp(
        -np.arange(processes)[:, None] / noise.drift_processes
    )
    if noise.cycle:
        phase = generator.integers(4, size=(runs, 1, 1))
        level -= noise.cycle * ((np.arange(processes)[:, None] + phase) % 4 < 2)  # noqa: PLR2004
    return level + generator.normal(
        0.0, noise.within_sd, (runs, processes, repetitions)
    )
