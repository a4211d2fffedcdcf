"""From a cold machine to a steady one, bounded; the same processes are the pilot."""

import time
from collections.abc import Callable, Sequence
from itertools import pairwise

from llamatrix.commands.regress.paired import Paired
from llamatrix.exclusive import exclusive
from llamatrix.stats.pairs import Arm

_WINDOW = 3
_DRIFT = 0.02
_MOST = 6


def warm_up(
    running: Paired, *, until: float, clock: Callable[[], float] = time.monotonic
) -> None:
    """Start each arm once, then repeat the baseline: until steady, six times, or time.

    The first two processes tell how many repetitions a second takes. Nothing of this
    is ever judged; it goes into the ledger as pair 0.
    """
    with exclusive(running.project.cache / "measuring.lock", purpose="warming up"):
        for arm in Arm:
            running.warm(arm)
        values: list[float | None] = []
        while len(values) < _MOST and clock() < until and not is_steady(values):
            values.append(running.warm(Arm.BASELINE))


def is_steady(values: Sequence[float | None]) -> bool:
    """Whether the last three processes show noise and no drift.

    Drift is a run up or down, all one way, of more than 2 %. A baseline that gives no
    value will not give one later.
    """
    last = [value for value in values[-_WINDOW:] if value is not None]
    if len(last) < len(values[-_WINDOW:]):
        return True
    if len(last) < _WINDOW:
        return False
    steps = [after - before for before, after in pairwise(last)]
    one_way = all(step > 0 for step in steps) or all(step < 0 for step in steps)
    return not one_way or abs(last[-1] / last[0] - 1) <= _DRIFT
