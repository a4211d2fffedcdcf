"""Ways of telling a slower build: ours, and those of peers, to be tried on made-up runs.

In a peer's mouth SLOWER is what its own rule would report as a loss.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from llamatrix.stats.distributions import t_quantile
from llamatrix.stats.estimate import ALPHA, Estimate
from llamatrix.stats.looks import Looks
from llamatrix.stats.rule import Rule
from llamatrix.stats.word import Word

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Places = NDArray[np.int64]

_ARM = 5
"""Processes of each arm in the designs without looks that run several."""


class Design(StrEnum):
    PAIRED = "pairs in random order, 5, one look"
    LOOKS = "pairs in random order, planned looks"
    ABBA = "pairs in fixed ABBA order, 5, one look"
    WELCH = "one process each, Welch on its samples"
    SEQUENTIAL = "5 of one, then 5 of the other, Welch on process means"
    MEANS = "one process each, means compared, deviation ignored"


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """What a design said of one run."""

    word: Word
    covered: bool | None
    """The true ratio lay within its interval; None for a design without one."""
    per_arm: int
    """Processes of each arm that it had run by then."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Way:
    """How a design spends processes, and how it judges them."""

    processes: int
    """Of both arms, in order of time."""
    candidate_at: "Callable[[int, np.random.Generator], Places]"
    """For so many runs: the places in time of the candidate's processes, shape (runs,
    processes / 2), in the order in which they are paired with the baseline's."""
    judge: "Callable[[Floats, Floats, float], Iterator[Claim]]"
    """Logs of baseline and candidate, shape (runs, processes, repetitions), and the
    true log-ratio, to a claim for each run."""


def way(design: Design, *, margin: float, looks: Looks) -> Way:
    once = Looks(pairs=(_ARM,), alpha=looks.alpha)
    match design:
        case Design.PAIRED:
            return _paired_way(once, margin, random_places)
        case Design.LOOKS:
            return _paired_way(looks, margin, random_places)
        case Design.ABBA:
            return _paired_way(once, margin, _abba_places)
        case Design.SEQUENTIAL:
            return Way(
                processes=2 * _ARM,
                candidate_at=_fixed(range(_ARM, 2 * _ARM)),
                judge=_welch_on_means,
            )
        case Design.WELCH:
            return Way(processes=2, candidate_at=_fixed([1]), judge=_welch_on_samples)
        case Design.MEANS:
            return Way(
                processes=2,
                candidate_at=_fixed([1]),
                judge=lambda a, b, _: _means_only(a, b, margin=margin),
            )


def random_places(runs: int, pairs: int, generator: "np.random.Generator") -> "Places":
    """Places of the candidate, first or second of its pair at random."""
    import numpy as np

    return 2 * np.arange(pairs) + generator.integers(2, size=(runs, pairs))


def _abba_places(runs: int, pairs: int, _: "np.random.Generator") -> "Places":
    import numpy as np

    fixed = [2 * pair + (pair + 1) % 2 for pair in range(pairs)]
    return np.tile(np.array(fixed), (runs, 1))


def _fixed(
    places: Sequence[int],
) -> "Callable[[int, np.random.Generator], Places]":
    def candidate_at(runs: int, _: "np.random.Generator") -> "Places":
        import numpy as np

        return np.tile(np.array(places), (runs, 1))

    return candidate_at


def _paired_way(
    looks: Looks,
    margin: float,
    places: "Callable[[int, int, np.random.Generator], Places]",
) -> Way:
    rule = Rule(margin=margin, alpha=looks.alpha_per_look)
    pairs = looks.pairs[-1]

    def judge(baseline: "Floats", candidate: "Floats", truth: float) -> Iterator[Claim]:
        """`judge_at_looks` without its paperwork; a test holds the two together."""
        ratios = _process_means(candidate) - _process_means(baseline)
        seen = [_estimates(ratios[:, :count]) for count in looks.pairs]
        for at_looks in zip(*seen, strict=True):
            decided = (one for one in at_looks if rule.word(one).decided)
            found = next(decided, at_looks[-1])
            half = found.log_half_width(rule.alpha)
            yield Claim(
                word=rule.word(found),
                covered=half is not None and abs(found.mean_log - truth) <= half,
                per_arm=found.pairs,
            )

    return Way(
        processes=2 * pairs,
        candidate_at=lambda runs, generator: places(runs, pairs, generator),
        judge=judge,
    )


def _estimates(ratios: "Floats") -> Iterator[Estimate]:
    pairs = ratios.shape[1]
    means = ratios.mean(axis=1).tolist()
    deviations = ratios.std(axis=1, ddof=1).tolist()
    for mean, deviation in zip(means, deviations, strict=True):
        yield Estimate(pairs=pairs, mean_log=mean, sd_log=deviation)


def _welch_on_means(
    baseline: "Floats", candidate: "Floats", truth: float
) -> Iterator[Claim]:
    return _welch(_process_means(baseline), _process_means(candidate), truth, _ARM)


def _welch_on_samples(
    baseline: "Floats", candidate: "Floats", truth: float
) -> Iterator[Claim]:
    return _welch(baseline[:, 0], candidate[:, 0], truth, 1)


def _welch(
    baseline: "Floats", candidate: "Floats", truth: float, per_arm: int
) -> Iterator[Claim]:
    """What Welch's t calls significant at 0.05 is a change: shapes (runs, values)."""
    n = baseline.shape[1]
    differences = (candidate.mean(axis=1) - baseline.mean(axis=1)).tolist()
    squares_a = (baseline.var(axis=1, ddof=1) / n).tolist()
    squares_b = (candidate.var(axis=1, ddof=1) / n).tolist()
    for mean, a, b in zip(differences, squares_a, squares_b, strict=True):
        degrees = (n - 1) * (a + b) ** 2 / (a**2 + b**2)
        half = t_quantile(1 - ALPHA / 2, degrees) * math.sqrt(a + b)
        if abs(mean) <= half:
            word = Word.INCONCLUSIVE
        else:
            word = Word.SLOWER if mean < 0 else Word.FASTER
        yield Claim(word=word, covered=abs(mean - truth) <= half, per_arm=per_arm)


def _means_only(
    baseline: "Floats", candidate: "Floats", *, margin: float
) -> Iterator[Claim]:
    """A mean beyond the margin is a change, any other is none."""
    log_margin = Rule(margin=margin, alpha=ALPHA).log_margin
    for mean in (_process_means(candidate) - _process_means(baseline))[:, 0].tolist():
        word = Word.SAME
        if abs(mean) >= log_margin:
            word = Word.SLOWER if mean < 0 else Word.FASTER
        yield Claim(word=word, covered=None, per_arm=1)


def _process_means(logs: "Floats") -> "Floats":
    """Log of the mean of each process' samples: shape (runs, processes)."""
    import numpy as np

    means: Floats = np.log(np.exp(logs).mean(axis=2))
    return means
