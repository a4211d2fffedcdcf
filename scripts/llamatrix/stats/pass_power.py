"""Before any trial: what pass rates of so many trials could show, by enumeration."""

import math
from functools import lru_cache

from llamatrix.stats.distributions import beta_quantile
from llamatrix.stats.passes import Passes, compare_passes
from llamatrix.stats.word import Word

_POWER = 0.8
_RATES = tuple(step / 100 for step in range(1, 100))


@lru_cache(maxsize=64)
def most_called(trials: int, *, baseline: int | None = None) -> int | None:
    """The most passes that are called worse than the baseline's, by default a perfect one.

    Both arms have so many trials; None where not even 0 passes would be called.
    """
    before = trials if baseline is None else baseline
    for passed in range(before - 1, -1, -1):
        found = compare_passes(
            Passes(passed=before, trials=trials), Passes(passed=passed, trials=trials)
        )
        if found.word in {Word.SLOWER, Word.BROKEN}:
            return passed
    return None


def smallest_drop(trials: int) -> float | None:
    """The smallest true drop from a rate of 1 that 4 of 5 such runs would call.

    P(at most m passes) is a tail of the Beta distribution (Clopper & Pearson 1934).
    """
    most = most_called(trials)
    if most is None:
        return None
    return 1 - beta_quantile(1 - _POWER, most + 1, trials - most)


@lru_cache(maxsize=16)
def false_alarms(trials: int) -> float:
    """How often equal arms are called worse, at the true rate that is worst for it."""
    called = {
        before: most
        for before in range(trials + 1)
        if (most := most_called(trials, baseline=before)) is not None
    }
    return max(
        sum(
            _chance(before, trials, rate)
            * sum(_chance(after, trials, rate) for after in range(most + 1))
            for before, most in called.items()
        )
        for rate in _RATES
    )


@lru_cache(maxsize=1)
def trials_for_same() -> int:
    """The fewest trials of each arm from which two perfect arms are called the same."""
    trials = 1
    while True:
        perfect = Passes(passed=trials, trials=trials)
        if compare_passes(perfect, perfect).word is Word.SAME:
            return trials
        trials += 1


def _chance(passed: int, trials: int, rate: float) -> float:
    return math.comb(trials, passed) * rate**passed * (1 - rate) ** (trials - passed)
