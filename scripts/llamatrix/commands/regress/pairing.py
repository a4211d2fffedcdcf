"""Recorded processes to pairs.

Of whatever kind the processes are: llama-bench, or a server that replays a session.
"""

import secrets
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from statistics import fmean
from typing import Protocol, TypeVar

from llamatrix.measure.telemetry import Telemetry
from llamatrix.stats.pairs import Arm, Pair

WARM_UP = 0
"""The number in place of a pair's for processes that warm the machine."""


class Run(Protocol):
    """What a line says of its process, whatever was measured."""

    @property
    def series(self) -> int: ...
    @property
    def pair(self) -> int: ...
    @property
    def arm(self) -> Arm: ...
    @property
    def disturbed(self) -> str: ...
    @property
    def crashed(self) -> bool:
        """Whether it ended by a fault of its own, which no load excuses."""
        ...

    @property
    def mhz(self) -> float | None: ...
    @property
    def seed(self) -> int | None: ...


R = TypeVar("R", bound=Run)


def ledger_id(case: str, digest: str) -> str:
    """The record id of the pairs of a case: its file is named by what both arms are."""
    return f"{case}-{digest[:12]}"


def last_series(runs: Iterable[Run]) -> int:
    return max((run.series for run in runs), default=1)


def mean_mhz(telemetry: Telemetry) -> float | None:
    """Mean clock while it measured: of the GPU's SMs where there is one."""
    gpu = [float(sample.sm_mhz) for sample in telemetry.gpu if sample.sm_mhz]
    cpu = [sample.mhz for sample in telemetry.cpu if sample.mhz]
    return fmean(gpu or cpu) if gpu or cpu else None


def series_seed(runs: Iterable[Run], series: int) -> int:
    """Return what the orders of a series are drawn from: a new seed for a new series."""
    stored = (run.seed for run in runs if run.series == series)
    known = next((seed for seed in stored if seed is not None), None)
    return secrets.randbits(32) if known is None else known


def order_in_series(pair: int, place: int) -> int | None:
    """Return the position among all processes of a series; None for the warm-up."""
    return None if pair == WARM_UP else len(Arm) * (pair - 1) + place


def next_number(runs: Iterable[Run], series: int) -> int:
    own = (run.pair for run in runs if run.series == series)
    return max(own, default=WARM_UP) + 1


def paired(
    runs: Sequence[R], *, series: int, value: Callable[[R], float | None]
) -> tuple[Pair, ...]:
    """The pairs of a series of which both processes ran, in the order of running.

    Clocks are handed on only where they move at all: a constant is the number on the
    box of a virtual machine, and dividing by it proves nothing.
    """
    found: dict[int, dict[Arm, R]] = defaultdict(dict)
    for run in runs:
        if run.series == series and run.pair != WARM_UP:
            found[run.pair][run.arm] = run
    whole = {number: arms for number, arms in found.items() if len(arms) == len(Arm)}
    clocks = {run.mhz for arms in whole.values() for run in arms.values()}
    told = len(clocks) > 1 and None not in clocks
    return tuple(
        _pair(number, arms[Arm.BASELINE], arms[Arm.CANDIDATE], value, clocks=told)
        for number, arms in sorted(whole.items())
    )


def _pair(
    number: int,
    baseline: R,
    candidate: R,
    value: Callable[[R], float | None],
    *,
    clocks: bool,
) -> Pair:
    """A crash is no matter of load: a pair with one counts, however busy it was."""
    reasons = [
        f"{run.arm}: {run.disturbed}" for run in (baseline, candidate) if run.disturbed
    ]
    crashed = baseline.crashed or candidate.crashed
    return Pair(
        number=number,
        baseline=value(baseline),
        candidate=value(candidate),
        disturbed="" if crashed else "; ".join(reasons),
        baseline_mhz=baseline.mhz if clocks else None,
        candidate_mhz=candidate.mhz if clocks else None,
    )
