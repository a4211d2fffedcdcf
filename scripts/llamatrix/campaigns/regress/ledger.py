"""The pairs of one case on disk: append-only JSON lines, one for each process.

Beside the store of records and apart from it: a pair says something of two builds
together, and its file is named by a digest of both.
"""

import os
import shlex
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import assert_never

import msgspec

from llamatrix.campaigns.regress.arms import Case
from llamatrix.campaigns.regress.load import Load
from llamatrix.errors import RecordError
from llamatrix.host import Host, this_host
from llamatrix.measure.llama_bench import parse_row
from llamatrix.measure.outcome import (
    ContextTooLarge,
    Crashed,
    Done,
    Outcome,
    OutOfMemory,
    TimedOut,
)
from llamatrix.measure.speed import Process
from llamatrix.measure.telemetry import Telemetry
from llamatrix.plan.cell import SpeedTest
from llamatrix.plan.lock import LockedPin
from llamatrix.progress import say
from llamatrix.provision.build import Manifest
from llamatrix.provision.weights import WeightsFacts
from llamatrix.verdict.pairs import Arm, Pair

SCHEMA_VERSION = 1
_TAIL = 10
WARM_UP = 0
"""The number in place of a pair's for processes that warm the machine."""


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One process of one arm."""

    schema_version: int
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
    host: Host
    measured_at: str
    """UTC, ISO 8601."""
    made_by: str

    @property
    def samples(self) -> tuple[float, ...]:
        """Tokens per second of each repetition; empty where the process gave none."""
        if not isinstance(self.outcome, Done):
            return ()
        return parse_row(bytes(self.outcome.result.row)).samples_ts

    @property
    def value(self) -> float | None:
        return fmean(self.samples) if self.samples else None

    @property
    def mhz(self) -> float | None:
        """Mean clock while it measured: of the GPU's SMs where there is one."""
        gpu = [float(sample.sm_mhz) for sample in self.telemetry.gpu if sample.sm_mhz]
        cpu = [sample.mhz for sample in self.telemetry.cpu if sample.mhz]
        return fmean(gpu or cpu) if gpu or cpu else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Ledger:
    """The file of one case."""

    path: Path

    def read(self) -> list[Entry]:
        """All whole lines, in order; RecordError where one cannot be read."""
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise RecordError(f"{self.path}: cannot be read: {error}") from error
        *lines, torn = content.split(b"\n")
        if torn:
            say(f"{self.path.name}: passing over a last line that was cut short")
        return [
            _decoded(line, where=f"{self.path}:{number}")
            for number, line in enumerate(lines, 1)
        ]

    def append(self, entry: Entry) -> None:
        """Have one whole line on the disk before returning."""
        line = msgspec.json.encode(entry) + b"\n"
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab+", buffering=0) as file:
                file.truncate(_whole_bytes(self.path.read_bytes()))
                file.write(line)
                os.fsync(file.fileno())
        except OSError as error:
            raise RecordError(
                f"{self.path}: the pair could not be written: {error.strerror}; all "
                "earlier ones are kept"
            ) from error


def ledger_of(case: Case, reports: Path) -> Ledger:
    name = f"{case.id}-{case.digest[:12]}.jsonl"
    return Ledger(path=reports / "regress" / this_host().slug / name)


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
        case Done():
            how, tail = "gave no samples", ()
        case _:
            assert_never(entry.outcome)
    lines = [f"{entry.arm}: {shlex.join(entry.process.argv)}: {how}"]
    return "\n".join([*lines, *tail[-_TAIL:]])


def last_series(entries: Iterable[Entry]) -> int:
    return max((entry.series for entry in entries), default=1)


def pairs_of(entries: Sequence[Entry], *, series: int) -> tuple[Pair, ...]:
    """The pairs of a series of which both processes ran, in the order of running.

    Clocks are handed on only where they move at all: a constant is the number on the
    box of a virtual machine, and dividing by it proves nothing.
    """
    found: dict[int, dict[Arm, Entry]] = defaultdict(dict)
    for entry in entries:
        if entry.series == series and entry.pair != WARM_UP:
            found[entry.pair][entry.arm] = entry
    whole = {number: arms for number, arms in found.items() if len(arms) == len(Arm)}
    clocks = {entry.mhz for arms in whole.values() for entry in arms.values()}
    told = len(clocks) > 1 and None not in clocks
    return tuple(
        _pair(number, arms[Arm.BASELINE], arms[Arm.CANDIDATE], clocks=told)
        for number, arms in sorted(whole.items())
    )


def _pair(number: int, baseline: Entry, candidate: Entry, *, clocks: bool) -> Pair:
    """A crash is no matter of load: a pair with one counts, however busy it was."""
    crashed = any(isinstance(one.outcome, Crashed) for one in (baseline, candidate))
    reasons = [
        f"{entry.arm}: {entry.disturbed}"
        for entry in (baseline, candidate)
        if entry.disturbed
    ]
    return Pair(
        number=number,
        baseline=baseline.value,
        candidate=candidate.value,
        disturbed="" if crashed else "; ".join(reasons),
        baseline_mhz=baseline.mhz if clocks else None,
        candidate_mhz=candidate.mhz if clocks else None,
    )


class _Version(msgspec.Struct):
    schema_version: int


def _decoded(line: bytes, *, where: str) -> Entry:
    try:
        version = msgspec.json.decode(line, type=_Version).schema_version
        if version == SCHEMA_VERSION:
            return msgspec.json.decode(line, type=Entry)
    except msgspec.DecodeError as error:
        raise RecordError(
            f"{where}: not a line of pairs: {error}; move the file away to begin anew"
        ) from error
    raise RecordError(
        f"{where}: written by another llamatrix (schema {version}, this one reads "
        f"{SCHEMA_VERSION}); update this checkout or move the file away"
    )


def _whole_bytes(content: bytes) -> int:
    """Where the last whole line ends: a torn one was never acknowledged to anybody."""
    return content.rfind(b"\n") + 1
