"""What a timed subject supplies, and the pairs of it that one series runs and keeps."""

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean
from typing import Generic, Protocol

import msgspec

from llamatrix.compare.ledger import WARM_UP, Ledger, RunT, pairs_of
from llamatrix.config.cell import Cell
from llamatrix.config.endpoint_cell import EndpointCell
from llamatrix.measure.disturbances import Watch, disturbance
from llamatrix.measuring import measuring
from llamatrix.progress import say
from llamatrix.project import Project
from llamatrix.stats.pairs import Arm, Pair, Samples, drawn_order, sort_pairs
from llamatrix.stats.sequential import ENOUGH_FAILURES
from llamatrix.stats.verdict import Metric
from llamatrix.units import duration_text

_ENOUGH_DISTURBED = 6
"""Disturbed pairs in a row after which a case waits no longer for a quiet machine."""
_WARM_UP_RUNS = 6
_STEADY_RUNS = 3
_STEADY_DRIFT = 0.02


class ArmCells(Protocol):
    """A case before it is known whether it can run."""

    @property
    def id(self) -> str: ...
    @property
    def cells(self) -> Mapping[Arm, Cell | EndpointCell]: ...
    @property
    def identical(self) -> bool:
        """Both arms are the same: an A/A comparison."""
        ...


@dataclass(kw_only=True, slots=True)
class Subject(ABC, Generic[RunT]):
    """What is compared by timing: it runs one process of an arm and measures it."""

    case: ArmCells
    metrics: tuple[Metric, ...]
    """What each process measures; every metric gets a verdict of its own."""
    project: Project

    @property
    def id(self) -> str:
        return self.case.id

    def case_id(self, metric: Metric) -> str:  # noqa: ARG002
        return self.case.id

    @abstractmethod
    def work(self, own: Sequence[RunT]) -> str:
        """Return what one process does, in words."""

    def same_work(self, own: Sequence[RunT]) -> Sequence[RunT]:
        """Return the runs that took as long as the next one will."""
        return own

    def prepare(self, arm: Arm, own: Sequence[RunT]) -> None:
        """Make ready, once, what is no part of a measurement."""

    @abstractmethod
    def run(self, arm: Arm, own: Sequence[RunT], *, pair: int) -> RunT:
        """Run one process of an arm; the caller fills in place, load and order."""


@dataclass(kw_only=True, slots=True)
class Session(Generic[RunT]):
    """One subject in one series; what it knows is all on disk."""

    subject: Subject[RunT]
    ledger: Ledger[RunT]
    project: Project
    watch: Watch
    tolerated_percent: float

    @property
    def cases(self) -> list["MetricCase"]:
        return [
            MetricCase(session=self, metric=metric) for metric in self.subject.metrics
        ]

    @property
    def process_s(self) -> float:
        """The mean wall time of this series' processes; 0 where none has run."""
        own = self.ledger.own
        times = [run.seconds for run in self.subject.same_work(own) or own]
        return fmean(times) if times else 0.0

    @property
    def spent_s(self) -> list[float]:
        """Wall times of the processes that this run added."""
        return [run.seconds for run in self.ledger.runs[self.ledger.known :]]

    def run(self, arm: Arm, *, pair: int, place: int) -> RunT:
        """Run one process of an arm; its line is on disk when this returns."""
        own = self.ledger.own
        self.subject.prepare(arm, own)
        mark = self.watch.mark()
        run = self.subject.run(arm, own, pair=pair)
        load = self.watch.since(mark)
        run = msgspec.structs.replace(
            run,
            series=self.ledger.series,
            pair=pair,
            place=place,
            load=load,
            disturbed=""
            if run.foreign
            else disturbance(
                load, run.telemetry, tolerated_percent=self.tolerated_percent
            ),
            seed=self.ledger.seed,
            order=None if pair == WARM_UP else len(Arm) * (pair - 1) + place,
        )
        self.ledger.append(run)
        return run

    def warm_up(self, *, until: float) -> None:
        """Start each arm once, then repeat the baseline: until steady, six times, or time.

        The first two processes tell how many repetitions a second takes. Nothing of
        this is judged; it goes into the ledger as pair 0.
        """
        metric = self.subject.metrics[0]
        with measuring(purpose="warming up"):
            for arm in Arm:
                self.run(arm, pair=WARM_UP, place=1)
            values: list[float | None] = []
            while (
                len(values) < _WARM_UP_RUNS
                and time.monotonic() < until
                and not is_steady(values)
            ):
                run = self.run(Arm.BASELINE, pair=WARM_UP, place=1)
                values.append(run.value(metric))


def is_steady(values: Sequence[float | None]) -> bool:
    """Whether the last three processes show noise and no drift.

    Drift is a run up or down, all one way, of more than 2 %. A baseline that gives no
    value will not give one later.
    """
    last = [value for value in values[-_STEADY_RUNS:] if value is not None]
    if len(last) < len(values[-_STEADY_RUNS:]):
        return True
    if len(last) < _STEADY_RUNS:
        return False
    steps = [after - before for before, after in pairwise(last)]
    one_way = all(step > 0 for step in steps) or all(step < 0 for step in steps)
    return not one_way or abs(last[-1] / last[0] - 1) <= _STEADY_DRIFT


@dataclass(frozen=True, kw_only=True, slots=True)
class MetricCase:
    """One metric of a session: a case of the run loop with a verdict of its own."""

    session: Session  # type: ignore[type-arg]  # of either kind of run
    metric: Metric

    @property
    def id(self) -> str:
        return self.session.subject.case_id(self.metric)

    @property
    def pairs(self) -> tuple[Pair, ...]:
        return self.pairs_in(self.session.ledger.series)

    def pairs_in(self, series: int) -> tuple[Pair, ...]:
        return pairs_of(
            self.session.ledger.runs,
            series=series,
            value=lambda run: run.value(self.metric),
        )

    @property
    def samples(self) -> Samples:
        return Samples(unit=self.metric.unit, pairs=self.pairs)

    @property
    def complete(self) -> int:
        return sum(pair.complete for pair in self.pairs)

    @property
    def pair_s(self) -> float:
        return 2 * self.session.process_s

    @property
    def warm_values(self) -> list[float]:
        """Of the baseline's processes before the first pair."""
        return [
            value
            for run in self.session.ledger.own
            if run.pair == WARM_UP
            and run.arm is Arm.BASELINE
            and (value := run.value(self.metric))
        ]

    @property
    def failures(self) -> tuple[str, ...]:
        """How the last failure of each arm ended."""
        last = {
            run.arm: run.failure
            for run in self.session.ledger.own
            if run.value(self.metric) is None
        }
        return tuple(last[arm] for arm in Arm if arm in last)

    def stop_reason(self) -> str | None:
        """Why it gets no more pairs, empty where its verdict says so; None to go on."""
        pairs = self.pairs
        ledger = self.session.ledger
        known = {
            run.pair
            for run in ledger.runs[: ledger.known]
            if run.series == ledger.series
        }
        disturbed = 0
        for pair in reversed(pairs):
            if pair.number in known or not pair.disturbed:
                break
            disturbed += 1
        if disturbed >= _ENOUGH_DISTURBED:
            return (
                f"{disturbed} pairs in a row were disturbed, the last by "
                f"{pairs[-1].disturbed}; stop other work, or raise "
                "--max-background-load"
            )
        complete = self.complete
        failed = sum(not (pair.disturbed or pair.complete) for pair in pairs)
        if not complete and failed >= ENOUGH_FAILURES:
            return ""
        if complete and failed > complete:
            return f"{failed} of {len(pairs)} pairs failed"
        return None

    def over_budget(self, left_s: float) -> str:  # noqa: ARG002
        return f"the budget ended after {self.complete} complete pairs"

    def run_pair(self) -> str:
        """Run both arms, in an order drawn from the seed of the series.

        Say what is wrong with the pair; return a note where nothing is.
        """
        ledger = self.session.ledger
        number = ledger.next_number
        with measuring():
            for place, arm in enumerate(drawn_order(ledger.seed, number), 1):
                self.session.run(arm, pair=number, place=place)
        pair = self.pairs[-1]
        if pair.disturbed:
            say(f"{self.id}: pair {pair.number} is repeated: {pair.disturbed}")
        elif not pair.complete:
            (left_out,) = sort_pairs([pair]).left_out
            say(f"{self.id}: pair {pair.number}: {left_out.reason}")
        else:
            return f"{self.id} ({duration_text(self.pair_s)} a pair)"
        return ""
