"""The pairs of a case on disk: one line for each process, of llama-bench or a replay.

The ledger stands beside the store of records: a pair is about two builds together, and
its file is named by a digest of both arms.
"""

import secrets
import shlex
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Generic, TypeVar, assert_never

from llamatrix.config.cell import SpeedTest
from llamatrix.config.lock import LockedPin
from llamatrix.engines.outcome import (
    ContextTooLarge,
    Crashed,
    Done,
    Invalid,
    Outcome,
    OutOfMemory,
    Process,
    TimedOut,
)
from llamatrix.host import this_host
from llamatrix.measure.disturbances import Load
from llamatrix.measure.replay import Replayed, ReplayFailed, ReplayFailureKind
from llamatrix.measure.telemetry import Telemetry
from llamatrix.provision.build import Manifest
from llamatrix.provision.weights.provide import WeightsFacts
from llamatrix.records.speed_record import outcome_from_1
from llamatrix.records.store import Envelope, RecordKind, Store, keep_fields
from llamatrix.stats.pairs import Arm, Pair
from llamatrix.stats.verdict import Metric

WARM_UP = 0
"""The pair number of processes that warm the machine."""
_TAIL_LINES = 10


class PairedRun(Envelope, frozen=True, kw_only=True):
    """One process of one arm."""

    case: str
    digest: str
    series: int
    """From 1; `--again` begins another, and pairs of two are never judged together."""
    pair: int
    """From 1 in each series; 0 for the warm-up."""
    place: int
    """1 or 2: which of its pair ran first."""
    arm: Arm
    cell: str

    @property
    def record_id(self) -> str:
        return f"{self.case}-{self.digest[:12]}"


class SpeedRun(PairedRun, frozen=True, kw_only=True):
    """One process of llama-bench."""

    test: SpeedTest
    repetitions: int
    outcome: Outcome
    seconds: float
    """Wall time of the process."""
    load: Load
    disturbed: str
    """Why the pair does not count, or empty."""
    process: Process
    telemetry: Telemetry
    locked: LockedPin
    build: Manifest
    weights: WeightsFacts

    @property
    def samples(self) -> tuple[float, ...]:
        """Tokens per second of each repetition after the first, which is cold."""
        return self.outcome.result.steady if isinstance(self.outcome, Done) else ()

    def value(self, metric: Metric) -> float | None:  # noqa: ARG002
        """Return the steady mean of its one test; None where the process gave none."""
        return fmean(self.samples) if self.samples else None

    @property
    def crashed(self) -> bool:
        """Whether it ended by a fault of its own, which no load excuses."""
        return isinstance(self.outcome, Crashed | Invalid)

    @property
    def failure(self) -> str:
        """How it failed, with the last lines of its output."""
        match self.outcome:
            case TimedOut(after_s=after_s, tail=tail):
                how = f"no end after {after_s:.0f} s"
            case Crashed(exit_code=code, tail=tail):
                how = f"crashed with exit code {code}"
            case OutOfMemory(exit_code=code, tail=tail):
                how = f"out of memory, exit code {code}"
            case ContextTooLarge(exit_code=code, tail=tail):
                how = f"context too large, exit code {code}"
            case Invalid(reason=reason, tail=tail):
                how = f"invalid row: {reason}"
            case Done():
                how, tail = "gave no samples", ()
            case _:
                assert_never(self.outcome)
        first = f"{self.arm}: {shlex.join(self.process.argv)}: {how}"
        return "\n".join([first, *tail[-_TAIL_LINES:]])


class ReplayRun(PairedRun, frozen=True, kw_only=True):
    """One fresh server, and the session it replayed."""

    server: str
    recording: str
    """Digest of what was replayed …"""
    script: str
    """… and sha256 of the tokens it was replayed as."""
    argv: tuple[str, ...]
    """The server's command line, without folders; empty where it never ran."""
    outcome: Replayed | ReplayFailed
    seconds: float
    """Wall time from the server's start to its end."""
    load: Load
    disturbed: str
    """Why the pair does not count, or empty."""
    telemetry: Telemetry
    """While the session ran."""
    locked: LockedPin
    build: Manifest
    weights: WeightsFacts

    def value(self, metric: Metric) -> float | None:
        if isinstance(self.outcome, ReplayFailed):
            return None
        match metric:
            case Metric.PROMPT:
                return self.outcome.prompt_tps
            case Metric.GENERATION:
                return self.outcome.decode_tps
            case Metric.FIRST_TOKEN:
                return self.outcome.prompt_s

    @property
    def crashed(self) -> bool:
        """Load makes a server slow; it takes nothing else to be too late."""
        return (
            isinstance(self.outcome, ReplayFailed)
            and self.outcome.way is not ReplayFailureKind.TIMED_OUT
        )

    @property
    def failure(self) -> str:
        failed = self.outcome
        if isinstance(failed, Replayed):
            return f"{self.arm}: gave no numbers"
        where = f"call {failed.call}" if failed.call else "before the first call"
        first = f"{self.arm}: {where}: {failed.way}: {failed.said}"
        return "\n".join([first, *failed.tail[-_TAIL_LINES:]])


SPEED_PAIRS = RecordKind(
    folder="speed", holds=SpeedRun, migrations={1: outcome_from_1}, root="regress"
)
REPLAY_PAIRS = RecordKind(
    folder="replay", holds=ReplayRun, migrations={1: keep_fields}, root="regress"
)
RunT = TypeVar("RunT", SpeedRun, ReplayRun)


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


def mean_mhz(telemetry: Telemetry) -> float | None:
    """Mean clock while it measured: of the GPU's SMs where there is one."""
    gpu = [float(sample.sm_mhz) for sample in telemetry.gpu if sample.sm_mhz]
    cpu = [sample.mhz for sample in telemetry.cpu if sample.mhz]
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
    clocks = {mean_mhz(run.telemetry) for arms in whole.values() for run in arms}
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
                baseline_mhz=mean_mhz(baseline.telemetry) if moving else None,
                candidate_mhz=mean_mhz(candidate.telemetry) if moving else None,
            )
        )
    return tuple(pairs)
