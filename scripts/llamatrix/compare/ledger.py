"""The pairs of a case on disk: one line for each process, of llama-bench or a replay.

The ledger stands beside the store of records: a pair is about two builds together, and
its file is named by a digest of both arms.
"""

import secrets
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Generic, TypeVar

from llamatrix.engines.outcome import Done
from llamatrix.host import this_host
from llamatrix.measure.telemetry import samples_of_test
from llamatrix.records.pair_records import (
    EndpointRun,
    PairedRun,
    ReplayRun,
    SpeedRun,
)
from llamatrix.records.store import Store
from llamatrix.stats.pairs import Arm, Pair

WARM_UP = 0
"""The pair number of processes that warm the machine."""


RunT = TypeVar("RunT", SpeedRun, EndpointRun, ReplayRun)


@dataclass(kw_only=True, slots=True)
class Ledger(Generic[RunT]):
    """All runs of a case in one file; new ones join a series with a seed of its own."""

    store: Store[RunT]
    runs: list[RunT]
    """Everything in the file, older series and our own additions included."""
    series: int
    seed: int
    """What the order of each pair is drawn from."""
    known: int
    """How many of the runs were there before."""

    @property
    def own(self) -> list[RunT]:
        """The runs of this series."""
        return [run for run in self.runs if run.series == self.series]

    @property
    def next_number(self) -> int:
        return max((run.pair for run in self.own), default=WARM_UP) + 1

    def append(self, run: RunT) -> None:
        """Put the run on disk before it is known here."""
        self.store.append(run)
        self.runs.append(run)


def open_ledger(
    store: Store[RunT], *, case: str, digest: str, again: bool
) -> Ledger[RunT]:
    """Read a case's runs; continue its last series, or begin a new one with `again`."""
    runs = store.read(host_slug=this_host().slug, record_id=f"{case}-{digest[:12]}")
    series = last_series(runs) + (again and bool(runs))
    seeds = (run.seed for run in runs if run.series == series)
    seed = next((seed for seed in seeds if seed is not None), None)
    return Ledger(
        store=store,
        runs=runs,
        series=series,
        seed=secrets.randbits(32) if seed is None else seed,
        known=len(runs),
    )


def last_series(runs: Iterable[PairedRun]) -> int:
    return max((run.series for run in runs), default=1)


def mean_mhz(run: SpeedRun | EndpointRun | ReplayRun) -> float | None:
    """Mean clock while it measured: of the GPU's SMs where there is one.

    What the card did while llama-bench loaded the model is left out.
    """
    outcome = run.outcome
    sample = outcome.result if isinstance(outcome, Done) else None
    readings = samples_of_test(run.telemetry, sample)
    gpu = [float(reading.sm_mhz) for reading in readings if reading.sm_mhz]
    cpu = [reading.mhz for reading in run.telemetry.cpu if reading.mhz]
    return fmean(gpu or cpu) if gpu or cpu else None


def pairs_of(
    runs: Sequence[RunT],
    *,
    series: int,
    value: Callable[[RunT], float | None],
) -> tuple[Pair, ...]:
    """Return the pairs of a series of which both processes ran, in the order of running.

    Clocks are handed on only where they move at all: a constant is the number on the
    box of a virtual machine, and dividing by it proves nothing. A crash is no matter of
    load: a pair with one counts, however busy the machine was.
    """
    by_number: dict[int, dict[Arm, RunT]] = defaultdict(dict)
    for run in runs:
        if run.series == series and run.pair != WARM_UP:
            by_number[run.pair][run.arm] = run
    whole = {
        number: (arms[Arm.BASELINE], arms[Arm.CANDIDATE])
        for number, arms in sorted(by_number.items())
        if len(arms) == len(Arm)
    }
    clocks = {mean_mhz(run) for arms in whole.values() for run in arms}
    moving = len(clocks) > 1 and None not in clocks
    pairs = []
    for number, (baseline, candidate) in whole.items():
        reasons = [
            f"{run.arm}: {run.disturbed}"
            for run in (baseline, candidate)
            if run.disturbed
        ]
        crashed = baseline.crashed or candidate.crashed
        pairs.append(
            Pair(
                number=number,
                baseline=value(baseline),
                candidate=value(candidate),
                disturbed="" if crashed else "; ".join(reasons),
                baseline_mhz=mean_mhz(baseline) if moving else None,
                candidate_mhz=mean_mhz(candidate) if moving else None,
            )
        )
    return tuple(pairs)
