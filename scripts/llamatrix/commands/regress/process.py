"""One process of one arm, and one pair of them: measured, watched, kept."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from statistics import fmean

import msgspec

from llamatrix import __version__
from llamatrix.commands.bench import bench_of
from llamatrix.commands.regress.arms import Case
from llamatrix.commands.regress.ledger import Entry, failure_notes, pairs_of
from llamatrix.commands.regress.pairing import WARM_UP, next_number, order_in_series
from llamatrix.config.cell import SpeedTest
from llamatrix.engines.llama_cpp.engine import Installed
from llamatrix.exclusive import exclusive
from llamatrix.host import this_host
from llamatrix.measure.disturbances import Watch, disturbance
from llamatrix.measure.speed import MeasuredTest, run_sweep
from llamatrix.project import Project
from llamatrix.records.store import Store
from llamatrix.stats.pairs import Arm, Pair, drawn_order
from llamatrix.stats.verdict import Metric

_MEASURED_S = (1.0, 3.0)
"""Bounds of how long a process measures: longer runs buy more than more pairs, but one
that measures longer than it loads costs more than it tells."""
_COLD = 1
"""Repetitions that come before it and have no part in the mean."""
_FEWEST, _MOST = 2, 500
"""Repetitions in the mean: with two, a slow one is not all there is."""
_HANGS_AFTER = 20
"""A process that takes so many times the baseline's time is taken to hang …"""
_PATIENCE_S = 30.0
"""… but none is ended before this, unless the sweep's own limit is shorter."""


@dataclass(kw_only=True, slots=True)
class Running:
    """A case being measured in one series; what it knows is all on disk."""

    case: Case
    test: SpeedTest
    parts: dict[Arm, Installed]
    project: Project
    store: Store[Entry]
    series: int
    seed: int
    """What the order of each pair is drawn from."""
    watch: Watch
    tolerated_percent: float
    entries: list[Entry]
    """Everything in the ledger, older series and our own additions included."""
    known: int = 0
    """How many of them were there before."""

    @property
    def id(self) -> str:
        return self.case.id

    @property
    def metric(self) -> Metric:
        return self.case.metric

    @property
    def new(self) -> list[Entry]:
        return self.entries[self.known :]

    @property
    def pairs(self) -> tuple[Pair, ...]:
        return self.pairs_in(self.series)

    def pairs_in(self, series: int) -> tuple[Pair, ...]:
        return pairs_of(self.entries, series=series)

    @property
    def own(self) -> list[Entry]:
        """Of this series."""
        return [entry for entry in self.entries if entry.series == self.series]

    @property
    def repetitions(self) -> int:
        """`-r` of the series' pairs: as they began, else what the warm-up asks for."""
        begun = [entry.repetitions for entry in self.own if entry.pair != WARM_UP]
        return begun[0] if begun else repetitions_for(self.test, self.own)

    @property
    def process_s(self) -> float:
        """The mean wall time of this series' processes; 0 where none has run."""
        same = [one.seconds for one in self.own if one.repetitions == self.repetitions]
        times = same or [one.seconds for one in self.own]
        return fmean(times) if times else 0.0

    @property
    def session(self) -> str:
        return self.case.id

    @property
    def spent_s(self) -> tuple[float, ...]:
        return tuple(entry.seconds for entry in self.new)

    @property
    def work(self) -> str:
        return f"{self.repetitions} repetitions"

    @property
    def warm_values(self) -> list[float]:
        """Of the baseline's processes before the first pair."""
        return [
            entry.value
            for entry in self.own
            if entry.pair == WARM_UP and entry.arm is Arm.BASELINE and entry.value
        ]

    @property
    def failures(self) -> tuple[str, ...]:
        return failure_notes(self.entries, series=self.series)

    def warm(self, arm: Arm) -> float | None:
        """Run a process that is not judged; its value."""
        entry = self.run(arm, pair=WARM_UP, place=1, repetitions=self.repetitions)
        return entry.value

    def run_pair(self) -> list[Entry]:
        """Run both arms, in an order drawn from the seed of the series."""
        number = next_number(self.entries, self.series)
        order = drawn_order(self.seed, number)
        repetitions = self.repetitions
        with exclusive(self.project.cache / "measuring.lock", purpose="measuring"):
            return [
                self.run(arm, pair=number, place=place, repetitions=repetitions)
                for place, arm in enumerate(order, 1)
            ]

    def run(self, arm: Arm, *, pair: int, place: int, repetitions: int) -> Entry:
        """Run one process of an arm and have its entry on the disk."""
        cell, parts = self.case.cells[arm], self.parts[arm]
        limit_s = self._limit_s(cell.sweep.timeout_s)
        sweep = msgspec.structs.replace(
            cell.sweep,
            repetitions=repetitions,
            warmup_repetitions=0,
            timeout_s=limit_s,
        )
        asked = msgspec.structs.replace(cell, sweep=sweep)
        found: list[MeasuredTest] = []
        # Warming a card by a load of its own helps nothing here: while the next process
        # reads its weights the card cools down again (H200: from 51 to 40 degrees in
        # 3 s). Processes like those that are judged warm it, until their speed is steady.
        bench = replace(bench_of(asked, parts, self.project), warm_up_limit_s=0.0)
        mark = self.watch.mark()
        ended = run_sweep(bench, [self.test], on_measured=found.append)
        load = self.watch.since(mark)
        (one,) = found
        entry = Entry(
            case=self.case.id,
            digest=self.case.digest,
            series=self.series,
            pair=pair,
            place=place,
            arm=arm,
            cell=cell.id,
            test=self.test,
            repetitions=repetitions,
            outcome=one.outcome,
            seconds=sum(process.seconds for process in ended),
            load=load,
            disturbed=disturbance(
                load, one.telemetry, tolerated_percent=self.tolerated_percent
            ),
            process=one.process,
            telemetry=one.telemetry,
            locked=cell.locked,
            build=parts.built.manifest,
            weights=parts.weights.facts,
            host=this_host(),
            measured_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
            made_by=f"llamatrix {__version__}",
            seed=self.seed,
            order=order_in_series(pair, place),
        )
        self.store.append(entry)
        self.entries.append(entry)
        return entry

    def _limit_s(self, most_s: int) -> int:
        known = [
            entry.seconds
            for entry in self.own
            if entry.arm is Arm.BASELINE and entry.value is not None
        ]
        if not known:
            return most_s
        return min(most_s, math.ceil(max(_PATIENCE_S, _HANGS_AFTER * max(known))))


def repetitions_for(test: SpeedTest, seen: Sequence[Entry]) -> int:
    """So many that the faster arm measures as long as it does anything else.

    That is within bounds, and after the cold repetition.
    """
    tokens = test.n_prompt or test.n_gen
    done = [(entry.value, entry.beyond_s) for entry in seen if entry.value is not None]
    if not done:
        return _COLD + _FEWEST
    least_s, most_s = _MEASURED_S
    measured_s = min(most_s, max(least_s, min(beyond_s for _, beyond_s in done)))
    steady = math.ceil(measured_s * max(speed for speed, _ in done) / tokens)
    return _COLD + min(_MOST, max(_FEWEST, steady))
