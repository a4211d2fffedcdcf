"""One metric of a replayed session, as a case to conduct."""

from dataclasses import dataclass
from statistics import fmean

from llamatrix.commands.regress.pairing import WARM_UP, paired
from llamatrix.commands.regress.replay_ledger import failure_text
from llamatrix.commands.regress.replaying import Session
from llamatrix.project import Project
from llamatrix.stats.pairs import Arm, Pair
from llamatrix.stats.verdict import Metric


@dataclass(frozen=True, kw_only=True, slots=True)
class SessionMetric:
    """A `Paired`: the sessions themselves are run once for all of their metrics."""

    shared: Session
    metric: Metric

    @property
    def id(self) -> str:
        return f"{self.shared.case.id}/{self.metric}"

    @property
    def session(self) -> str:
        return self.shared.case.id

    @property
    def project(self) -> Project:
        return self.shared.project

    @property
    def series(self) -> int:
        return self.shared.series

    @property
    def known(self) -> int:
        return self.shared.known

    @property
    def pairs(self) -> tuple[Pair, ...]:
        return self.pairs_in(self.series)

    def pairs_in(self, series: int) -> tuple[Pair, ...]:
        return paired(
            self.shared.entries,
            series=series,
            value=lambda entry: entry.value(self.metric),
        )

    @property
    def process_s(self) -> float:
        times = [entry.seconds for entry in self.shared.own]
        return fmean(times) if times else 0.0

    @property
    def work(self) -> str:
        return f"{len(self.shared.case.recording.calls)} calls"

    @property
    def warm_values(self) -> list[float]:
        return [
            value
            for entry in self.shared.own
            if entry.pair == WARM_UP
            and entry.arm is Arm.BASELINE
            and (value := entry.value(self.metric))
        ]

    @property
    def failures(self) -> tuple[str, ...]:
        last = {
            entry.arm: failure_text(entry)
            for entry in self.shared.own
            if entry.value(self.metric) is None
        }
        return tuple(last[arm] for arm in Arm if arm in last)

    @property
    def spent_s(self) -> tuple[float, ...]:
        new = self.shared.entries[self.shared.known :]
        return tuple(entry.seconds for entry in new)

    def warm(self, arm: Arm) -> float | None:
        return self.shared.run(arm, pair=WARM_UP, place=1).value(self.metric)

    def run_pair(self) -> None:
        self.shared.run_pair()
