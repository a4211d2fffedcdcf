"""Trials of both arms in turns, each on disk before the next, until the budget ends."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from llamatrix.commands.agent import describe
from llamatrix.commands.regress.agent.sample import Sample
from llamatrix.commands.regress.agent.trying import Attempts
from llamatrix.errors import ServeError
from llamatrix.exclusive import exclusive
from llamatrix.progress import say
from llamatrix.project import Project
from llamatrix.stats.pairs import Arm, drawn_order
from llamatrix.units import duration_text

_ENOUGH_BROKEN = 2
"""Trials that break before an arm without any finished one is given up."""


@dataclass(kw_only=True, slots=True)
class Conducted:
    made: int = 0
    """Attempts of this run."""
    seconds: float = 0.0
    """Their wall time."""
    broken: dict[str, str] = field(default_factory=dict)
    """By case, why its candidate could not even be begun."""
    notes: dict[str, str] = field(default_factory=dict)
    """By case, why trials are missing."""


@dataclass(kw_only=True, slots=True)
class Conductor:
    attempts: Attempts
    project: Project
    deadline: float
    """When no further pair is begun; what is provided first is not counted."""
    clock: Callable[[], float] = time.monotonic
    done: Conducted = field(default_factory=Conducted)

    def conduct(self, samples: Sequence[Sample]) -> Conducted:
        """Make what is due: place by place over all cases, each in an order of its own.

        The order of a pair of trials is drawn with the case's id as the seed.

        So a budget that ends leaves all cases about as far.
        """
        waiting = [one for one in samples if one.due()]
        begin = self.clock()
        waiting = [one for one in waiting if self._can_begin(one)]
        self.deadline += self.clock() - begin
        most = max((one.case.trials for one in waiting), default=0)
        for place in range(1, most + 1):
            for one in waiting:
                if one.case.id not in {*self.done.notes, *self.done.broken}:
                    self._pair(one, place)
        return self.done

    def _can_begin(self, one: Sample) -> bool:
        case = one.case
        if why := self.attempts.lacking(case):
            self._leave(one, why)
            return False
        if why := self.attempts.broken(case):
            self._break(one, why)
            return False
        return True

    def _pair(self, one: Sample, place: int) -> None:
        drawn = drawn_order(one.case.id, place)
        arms = tuple(arm for arm in drawn if one.is_due(arm, place))
        if not arms:
            return
        if why := given_up(one):
            self._leave(one, why)
            return
        takes_s = sum(one.mean_s(arm) for arm in arms)
        if self.clock() + takes_s > self.deadline:
            self._leave(one, self._over(place, takes_s))
            return
        for arm in arms:
            try:
                self._trial(one, arm, place)
            except ServeError as error:
                if arm is Arm.BASELINE:
                    raise
                self._break(one, f"the candidate's server: {error}")
                return

    def _trial(self, one: Sample, arm: Arm, place: int) -> None:
        """One trial, with another attempt where something else than the model failed."""
        number = one.case.number(arm, place)
        label = f"{one.case.id} {arm} #{place}"
        with exclusive(self.project.cache / "measuring.lock", purpose="making trials"):
            while one.is_due(arm, place):
                say(f"trial {label}")
                begin = self.clock()
                made = self.attempts.attempt(
                    one.case,
                    arm,
                    item=one.items[arm],
                    number=number,
                    store=one.store,
                )
                took = self.clock() - begin
                self.done.made += 1
                self.done.seconds += took
                what = describe(made.result.outcome)
                say(f"trial {label}: {what} ({duration_text(took)})")

    def _over(self, place: int, takes_s: float) -> str:
        left_s = self.deadline - self.clock()
        if left_s <= 0 or not takes_s:
            return f"the budget ended before trial {place}"
        return (
            f"trial {place} of both would take {duration_text(takes_s)}, and "
            f"{duration_text(left_s)} of the budget are left"
        )

    def _leave(self, one: Sample, why: str) -> None:
        say(f"{one.case.id}: {why}")
        self.done.notes[one.case.id] = why

    def _break(self, one: Sample, why: str) -> None:
        say(f"{one.case.id}: {why}")
        self.done.broken[one.case.id] = why


def given_up(one: Sample) -> str:
    """Why no more trials are made of it; empty where they are."""
    for arm in Arm:
        found = one.of(arm)
        if len(found.broken) >= _ENOUGH_BROKEN and not found.turns:
            return f"given up after {len(found.broken)} broken trials of the {arm}"
    return ""
