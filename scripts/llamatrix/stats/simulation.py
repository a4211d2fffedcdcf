"""Thousands of synthetic comparisons: how often each design is wrong, and how often right.

What is simulated is what ships: the estimate, the rule, the interval that is printed.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llamatrix.stats.cells import headline, session_estimate
from llamatrix.stats.designs import Design, way
from llamatrix.stats.estimate import ALPHA, Estimate, estimate
from llamatrix.stats.looks import Looks
from llamatrix.stats.metric import Unit
from llamatrix.stats.noise import Noise, draw_logs
from llamatrix.stats.pairs import Pair
from llamatrix.stats.power import chance_of_slower, smallest_effect, upper_sd
from llamatrix.stats.rule import Rule
from llamatrix.stats.samples import rounding_log
from llamatrix.stats.word import Word

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

LOSSES = (0.0, 0.02, 0.03, 0.05, 0.10)
"""True losses of speed that the self-test tries: none, the margin, and known-slow."""
_PLANNED = Looks()


@dataclass(frozen=True, kw_only=True, slots=True)
class Rate:
    """A share of simulated runs."""

    share: float
    runs: int

    @property
    def standard_error(self) -> float:
        """Of the share, by the binomial distribution; 0 without runs."""
        if not self.runs:
            return 0.0
        return math.sqrt(self.share * (1 - self.share) / self.runs)

    def misses(self, promised: float, *, chance: float = 3.0) -> bool:
        """Whether the share lies below what was promised by more than chance."""
        slack = chance * math.sqrt(promised * (1 - promised) / max(self.runs, 1))
        return self.share < promised - slack


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """Shares of all runs."""

    design: Design
    true_loss: float
    """0.03: the candidate has 97 % of the baseline's speed."""
    runs: int
    slower: float
    faster: float
    same: float
    inconclusive: float
    coverage: float | None
    """How often the interval that is printed held the true ratio; None without one."""
    claimed_coverage: Rate | None
    """The same of the runs that claimed a change; not promised. None without claims."""
    mean_per_arm: float
    """Processes of each arm, on average."""

    @property
    def false_alarms(self) -> float | None:
        """A change claimed where there is none; None where there is one."""
        return None if self.true_loss else self.slower + self.faster


def score(
    design: Design,
    *,
    noise: Noise,
    true_loss: float,
    margin: float = 0.02,
    repetitions: int = 5,
    looks: Looks = _PLANNED,
    runs: int = 4000,
    seed: int = 0,
) -> Score:
    """Try one design on so many runs. The same seed gives the same figures.

    The known-slow candidate differs by its speed alone: same noise, same order.
    """
    import numpy as np

    tried = way(design, margin=margin, looks=looks)
    truth = math.log1p(-true_loss)
    generator = np.random.default_rng(seed)
    logs = draw_logs(
        noise,
        runs=runs,
        processes=tried.processes,
        repetitions=repetitions,
        generator=generator,
    )
    places = tried.candidate_at(runs, generator)
    candidate = np.take_along_axis(logs, places[:, :, None], axis=1) + truth
    others = np.ones(logs.shape[:2], dtype=bool)
    np.put_along_axis(others, places, values=False, axis=1)
    baseline = logs[others].reshape(candidate.shape)
    claims = list(tried.judge(baseline, candidate, truth))
    covered = [claim.covered for claim in claims if claim.covered is not None]
    words = [claim.word for claim in claims]
    claimed = [
        bool(claim.covered)
        for claim in claims
        if claim.covered is not None and claim.word in {Word.SLOWER, Word.FASTER}
    ]
    return Score(
        design=design,
        true_loss=true_loss,
        runs=runs,
        slower=words.count(Word.SLOWER) / runs,
        faster=words.count(Word.FASTER) / runs,
        same=words.count(Word.SAME) / runs,
        inconclusive=words.count(Word.INCONCLUSIVE) / runs,
        coverage=sum(covered) / runs if covered else None,
        claimed_coverage=Rate(share=sum(claimed) / len(claimed), runs=len(claimed))
        if claimed
        else None,
        mean_per_arm=sum(claim.per_arm for claim in claims) / runs,
    )


def scoreboard(
    *,
    noise: Noise,
    losses: Sequence[float] = LOSSES,
    margin: float = 0.02,
    repetitions: int = 5,
    looks: Looks = _PLANNED,
    runs: int = 4000,
    seed: int = 0,
) -> tuple[Score, ...]:
    """Every design at every loss, design by design; each with draws of its own."""
    return tuple(
        score(
            design,
            noise=noise,
            true_loss=loss,
            margin=margin,
            repetitions=repetitions,
            looks=looks,
            runs=runs,
            seed=seed + place,
        )
        for place, (design, loss) in enumerate(
            (design, loss) for design in Design for loss in losses
        )
    )


def power_of_smallest_effect(
    *,
    sd_log: float,
    pairs: int,
    margin: float = 0.02,
    alpha: float = ALPHA,
    runs: int = 2000,
    seed: int = 0,
) -> Rate:
    """How often a loss of the printed smallest effect is then called SLOWER.

    Each run estimates its deviation from its own pairs and prints a smallest effect;
    a second comparison has a true loss of just that. The stated power is 80 %.
    """
    import numpy as np

    generator = np.random.default_rng(seed)
    spread = generator.chisquare(pairs - 1, runs) / (pairs - 1)
    chances = []
    for estimated in (sd_log * np.sqrt(spread)).tolist():
        effect = smallest_effect(
            sd_log=upper_sd(estimated, values=pairs),
            pairs=pairs,
            margin=margin,
            alpha=alpha,
        )
        if effect is None:
            raise ValueError(f"too few pairs: {pairs}")
        chances.append(
            chance_of_slower(
                effect, sd_log=sd_log, pairs=pairs, margin=margin, alpha=alpha
            )
        )
    return Rate(share=math.fsum(chances) / runs, runs=runs)


def headline_coverage(
    *,
    correlation: float,
    sessions: int = 1,
    metrics: int = 3,
    sd_log: float = 0.02,
    looks: Looks = _PLANNED,
    margin: float = 0.02,
    runs: int = 2000,
    seed: int = 0,
) -> Rate:
    """How often the headline of replayed sessions holds the truth, which is 1.

    The metrics of a session are measured by the same processes and correlate; each
    stops at the look that decides it, and the session goes on until all have.
    """
    import numpy as np

    generator = np.random.default_rng(seed)
    covariance = np.full((metrics, metrics), correlation)
    np.fill_diagonal(covariance, 1.0)
    shape = (runs, sessions, looks.pairs[-1])
    logs = sd_log * generator.multivariate_normal(np.zeros(metrics), covariance, shape)
    covered = 0
    for run, stops in zip(logs, _stops(logs, looks, margin), strict=True):
        estimates = [
            session_estimate(
                [
                    (Unit.TOKENS_PER_S, _pairs(session[:stop, metric].tolist()))
                    for metric in range(metrics)
                ]
            )
            for session, stop in zip(run, stops, strict=True)
        ]
        found = headline(
            [one for one in estimates if one], alpha=looks.alpha_per_look
        ).interval
        covered += found is not None and found.low <= 1 <= found.high
    return Rate(share=covered / runs, runs=runs)


def _stops(logs: "Floats", looks: Looks, margin: float) -> list[list[int]]:
    """Pairs of each session at the look by which every metric has a verdict."""
    import numpy as np

    rule = Rule(margin=margin, alpha=looks.alpha_per_look)
    stops = np.full(logs.shape[:2], looks.pairs[-1])
    waiting = np.ones((*logs.shape[:2], logs.shape[3]), dtype=bool)
    for count in looks.pairs[:-1]:
        means = logs[:, :, :count].mean(axis=2)
        deviations = logs[:, :, :count].std(axis=2, ddof=1)
        for place in zip(*np.nonzero(waiting), strict=True):
            seen = Estimate(
                pairs=count,
                mean_log=float(means[place]),
                sd_log=float(deviations[place]),
            )
            waiting[place] = not rule.word(seen).decided
        stops = np.where(waiting.any(axis=2), stops, np.minimum(stops, count))
    found: list[list[int]] = stops.tolist()
    return found


def _pairs(log_ratios: Sequence[float]) -> tuple[Pair, ...]:
    return tuple(
        Pair(number=number, baseline=1.0, candidate=math.exp(log))
        for number, log in enumerate(log_ratios, 1)
    )


def rounded_coverage(
    *,
    noise_in_steps: float,
    pairs: int = 5,
    speed: float = 46.0,
    runs: int = 4000,
    seed: int = 0,
) -> Rate:
    """How often the interval holds the truth where values are rounded to whole numbers.

    The speed lies anywhere between two of them; the candidate has 98 % of it.
    """
    import numpy as np

    generator = np.random.default_rng(seed)
    truth = 0.98
    covered = 0
    for _ in range(runs):
        level = speed + generator.uniform()
        arms = [
            np.round(generator.normal(mean, noise_in_steps, pairs)).tolist()
            for mean in (level, truth * level)
        ]
        ratios = [math.log(b / a) for a, b in zip(*arms, strict=True)]
        found = estimate(ratios, rounding_log=rounding_log(arms)).interval(ALPHA)
        covered += found is None or found.low <= truth <= found.high
    return Rate(share=covered / runs, runs=runs)
