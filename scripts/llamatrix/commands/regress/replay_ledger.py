"""The pairs of one replayed session on disk: one line for each server process."""

from llamatrix.commands.regress.pairing import ledger_id, mean_mhz
from llamatrix.config.lock import LockedPin
from llamatrix.measure.disturbances import Load
from llamatrix.measure.replay import Replayed, ReplayFailed, ReplayFailureKind
from llamatrix.measure.telemetry import Telemetry
from llamatrix.provision.build import Manifest
from llamatrix.provision.weights.provide import WeightsFacts
from llamatrix.records.store import Envelope, RecordKind, keep_fields
from llamatrix.stats.pairs import Arm
from llamatrix.stats.verdict import Metric

_TAIL = 10


class ReplayEntry(Envelope, frozen=True, kw_only=True):
    """One fresh server of one arm, and the session it replayed."""

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

    @property
    def record_id(self) -> str:
        return ledger_id(self.case, self.digest)

    def value(self, metric: Metric) -> float | None:
        if isinstance(self.outcome, ReplayFailed):
            return None
        return {
            Metric.PROMPT: self.outcome.prompt_tps,
            Metric.GENERATION: self.outcome.decode_tps,
            Metric.FIRST_TOKEN: self.outcome.prompt_s,
        }[metric]

    @property
    def crashed(self) -> bool:
        """Load makes a server slow; it takes nothing else to be too late."""
        failed = self.outcome
        return (
            isinstance(failed, ReplayFailed)
            and failed.way is not ReplayFailureKind.TIMED_OUT
        )

    @property
    def mhz(self) -> float | None:
        return mean_mhz(self.telemetry)

    @property
    def longest_s(self) -> float | None:
        """The wall time of its longest call; None where it did not get through."""
        if isinstance(self.outcome, ReplayFailed):
            return None
        return max(call.wall_s for call in self.outcome.calls)


REPLAY_PAIRS = RecordKind(
    folder="replay", holds=ReplayEntry, migrations={1: keep_fields}, root="regress"
)


def failure_text(entry: ReplayEntry) -> str:
    failed = entry.outcome
    if isinstance(failed, Replayed):
        return f"{entry.arm}: gave no numbers"
    where = f"call {failed.call}" if failed.call else "before the first call"
    first = f"{entry.arm}: {where}: {failed.way}: {failed.said}"
    return "\n".join([first, *failed.tail[-_TAIL:]])
