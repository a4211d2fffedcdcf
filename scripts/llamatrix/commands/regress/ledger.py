"""The pairs of one case of llama-bench on disk: one line for each process.

Beside the store of records and apart from it: a pair says something of two builds
together, and its file is named by a digest of both.
"""

import shlex
from collections.abc import Sequence
from statistics import fmean
from typing import assert_never

from llamatrix.commands.regress.pairing import ledger_id, mean_mhz, paired
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
from llamatrix.measure.disturbances import Load
from llamatrix.measure.telemetry import Telemetry
from llamatrix.provision.build import Manifest
from llamatrix.provision.weights.provide import WeightsFacts
from llamatrix.records.speed_record import outcome_from_1
from llamatrix.records.store import Envelope, RecordKind
from llamatrix.stats.pairs import Arm, Pair

_TAIL = 10


class Entry(Envelope, frozen=True, kw_only=True):
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
    def record_id(self) -> str:
        return ledger_id(self.case, self.digest)

    @property
    def samples(self) -> tuple[float, ...]:
        """Tokens per second of each repetition after the first, which is cold."""
        return self.outcome.result.steady if isinstance(self.outcome, Done) else ()

    @property
    def value(self) -> float | None:
        """The steady mean; None where the process gave none."""
        return fmean(self.samples) if self.samples else None

    @property
    def beyond_s(self) -> float:
        """Wall time of the process in which no repetition ran."""
        if not isinstance(self.outcome, Done):
            return self.seconds
        return self.seconds - sum(self.outcome.result.nanoseconds) / 1e9

    @property
    def crashed(self) -> bool:
        return isinstance(self.outcome, Crashed | Invalid)

    @property
    def mhz(self) -> float | None:
        return mean_mhz(self.telemetry)


SPEED_PAIRS = RecordKind(
    folder="speed", holds=Entry, migrations={1: outcome_from_1}, root="regress"
)


def failure_notes(entries: Sequence[Entry], *, series: int) -> tuple[str, ...]:
    """Of each arm that failed: how its last failure ended, and what it said last."""
    notes = []
    for arm in Arm:
        failed = [
            entry
            for entry in entries
            if entry.series == series and entry.arm is arm and entry.value is None
        ]
        if failed:
            notes.append(_failure_text(failed[-1]))
    return tuple(notes)


def _failure_text(entry: Entry) -> str:
    match entry.outcome:
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
            assert_never(entry.outcome)
    lines = [f"{entry.arm}: {shlex.join(entry.process.argv)}: {how}"]
    return "\n".join([*lines, *tail[-_TAIL:]])


def pairs_of(entries: Sequence[Entry], *, series: int) -> tuple[Pair, ...]:
    """The pairs of a series of which both processes ran, in the order of running."""
    return paired(entries, series=series, value=lambda entry: entry.value)
