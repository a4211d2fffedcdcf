"""Records of pairs: one process of one arm of a comparison.

The process is llama-bench, a replaying server, or a server that is asked over HTTP.
"""

import shlex
from statistics import fmean
from typing import assert_never

from llamatrix.config.cell import SpeedTest
from llamatrix.config.lock import LockedPin
from llamatrix.config.matrix import WeightsKind
from llamatrix.engines.endpoint.client import Reported
from llamatrix.engines.outcome import (
    ContextTooLarge,
    Crashed,
    Done,
    EndpointFailed,
    Invalid,
    NotDrafting,
    Outcome,
    OutOfMemory,
    Process,
    TimedOut,
)
from llamatrix.measure.disturbances import Load
from llamatrix.measure.replay import Replayed, ReplayFailed, ReplayFailureKind
from llamatrix.measure.telemetry import Telemetry
from llamatrix.provision.build import Manifest
from llamatrix.provision.weights.provide import WeightsFacts
from llamatrix.records.speed_record import outcome_from_1
from llamatrix.records.store import Envelope, RecordKind, keep_fields
from llamatrix.stats.pairs import Arm
from llamatrix.stats.trials import ArmTrials
from llamatrix.stats.verdict import Metric

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

    @property
    def foreign(self) -> bool:
        """Whether a server computed that we did not start; its load is not judged."""
        return False


class TimedRun(PairedRun, frozen=True, kw_only=True):
    """One test, measured once."""

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
        return isinstance(self.outcome, Crashed | Invalid | NotDrafting)

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
            case NotDrafting(reason=reason, tail=tail):
                how = f"not drafting: {reason}"
            case EndpointFailed(failure=failure, reason=reason):
                how, tail = f"{failure}: {reason}", ()
            case Done():
                how, tail = "gave no samples", ()
            case _:
                assert_never(self.outcome)
        first = f"{self.arm}: {shlex.join(self.process.argv)}: {how}"
        return "\n".join([first, *tail[-_TAIL_LINES:]])


class SpeedRun(TimedRun, frozen=True, kw_only=True):
    """One process of llama-bench."""

    peak_rss_bytes: int | None = None
    """Of the process, with weights that are mapped from their file; None in older lines."""
    locked: LockedPin
    build: Manifest
    weights: WeightsFacts


class EndpointRun(TimedRun, frozen=True, kw_only=True):
    """One test over HTTP: of an endpoint as it runs, or of a llama-server of our own."""

    words: int
    """Of each prompt, the same in both arms …"""
    prompt_tokens: int
    """… and its tokens, as this server counts them; 0 where it did not answer."""
    reported: Reported | None = None
    """What an endpoint says of itself; None of a server of our own, which has …"""
    locked: LockedPin | None = None
    build: Manifest | None = None
    weights: WeightsFacts | None = None

    @property
    def foreign(self) -> bool:
        return self.reported is not None


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


class ComparedTrials(Envelope, frozen=True, kw_only=True):
    """What the trials of two arms at one task came to when `regress --agent` ended.

    The trials themselves are ordinary records.
    """

    case: str
    weights: WeightsKind
    baseline: ArmTrials
    candidate: ArmTrials
    max_turns: int
    broken: str
    """Why the candidate could not even be begun, or empty."""

    @property
    def record_id(self) -> str:
        return self.case


TRIAL_PAIRS = RecordKind(
    folder="agent", holds=ComparedTrials, migrations={}, root="regress"
)
SPEED_PAIRS = RecordKind(
    folder="speed", holds=SpeedRun, migrations={1: outcome_from_1}, root="regress"
)
ENDPOINT_PAIRS = RecordKind(
    folder="endpoint", holds=EndpointRun, migrations={}, root="regress"
)
REPLAY_PAIRS = RecordKind(
    folder="replay", holds=ReplayRun, migrations={1: keep_fields}, root="regress"
)
