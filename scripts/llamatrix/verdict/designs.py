"""Ways of telling a slower build: ours, and those of peers, to be tried on made-up runs.

In a peer's mouth SLOWER is what its own rule would report as a loss.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from llamatrix.verdict.distributions import t_quantile
from llamatrix.verdict.estimate import ALPHA, Estimate
from llamatrix.verdict.looks import Looks
from llamatrix.verdict.rule import Rule
from llamatrix.verdict.word import Word

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

_ARM = 5
"""Processes of each arm in the designs without looks that run several."""


class Design(StrEnum):
    PAIRED = "pairs in ABBA order, 5, one look"
    LOOKS = "pairs in ABBA order, planned looks"
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

    candidate_at: tuple[int, ...]
    """Places in time of the candidate's processes; as many others are the baseline's."""
    judge: "Callable[[Floats, Floats, float], Iterator[Claim]]"
    """Logs of baseline and candidate, shape (runs, processes, repetitions), and the
    true log-ratio, to a claim for each run."""


def way(design: Design, *, margin: float, looks: Looks) -> Way:
    match design:
        case Design.PAIRED:
            return _paired_way(Looks(pairs=(_ARM,), alpha=looks.alpha), margin)
        case Design.LOOKS:
            return _paired_way(looks, margin)
        case Design.SEQUENTIAL:
            return Way(candidate_at=tuple(range(_ARM, 2 * _ARM)), judge=_welch_on_means)
        case Design.WELCH:
            return Way(candidate_at=(1,), judge=_welch_on_samples)
        case Design.MEANS:
            return Way(
                candidate_at=(1,),
                judge=lambda a, b, _: _means_only(a, b, margin=margin),
            )


def abba(pairs: int) -> tuple[int, ...]:
    """Places of the candidate where pairs run A B, B A, A B and so on."""
    return tuple(2 * pair + (pair + 1) % 2 for pair in range(pairs))


def _paired_way(looks: Looks, margin: float) -> Way:
    rule = Rule(margin=margin, alpha=looks.alpha_per_look)

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

    return Way(candidate_at=abba(looks.pairs[-1]), judge=judge)


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
