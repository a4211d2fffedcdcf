"""Thousands of synthetic comparisons: how often each design is right or wrong.

The designs are ours and those of peers; SLOWER of a peer's design is what its own rule
would report as a loss. Simulated is what ships: the estimate, the rule, the interval.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import fmean, variance
from typing import TYPE_CHECKING

from llamatrix.stats.intervals import ALPHA, Estimate, estimate, t_quantile
from llamatrix.stats.pairs import Pair, rounding_log
from llamatrix.stats.power import chance_of_slower, smallest_effect, upper_sd
from llamatrix.stats.sequential import (
    PLANNED,
    SequentialTest,
    headline,
    session_estimate,
)
from llamatrix.stats.verdict import Rule, Unit, Verdict

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Places = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Noise:
    """Everything as a fraction of the speed, by its logarithm."""

    within_sd: float = 0.001
    """Between samples of one process."""
    between_sd: float = 0.007
    """Between the means of fresh processes."""
    drift: float = 0.0
    """What the first process gains from a cold machine; decays from there."""
    drift_processes: float = 3.0
    """The number of processes after which the gain has fallen to 37 %."""
    cycle: float = 0.0
    """What a disturbance of period four costs two processes in a row of every four."""


def measured_noise(processes: Sequence[Sequence[float]]) -> Noise:
    """Noise of real processes of one build: samples per process, two or more of each.

    One-way analysis of variance on the logs; a between-process part that comes out
    negative is 0. Drift is not separated from the rest.
    """
    logs = [[math.log(value) for value in samples] for samples in processes]
    if len(logs) < 2 or min(map(len, logs)) < 2:  # noqa: PLR2004
        raise ValueError("noise: needs two processes of two samples each")
    within = fmean(variance(samples) for samples in logs)
    per_mean = fmean(1 / len(samples) for samples in logs)
    between = variance([fmean(samples) for samples in logs]) - within * per_mean
    return Noise(within_sd=math.sqrt(within), between_sd=math.sqrt(max(between, 0.0)))


def draw_logs(
    noise: Noise,
    *,
    runs: int,
    processes: int,
    repetitions: int,
    generator: "np.random.Generator",
) -> "NDArray[np.float64]":
    """Logs of samples, shape (runs, processes in order of time, repetitions).

    Process i: N(0, between) + drift * exp(-i / drift_processes), less `cycle` for two
    of every four, at a phase of each run's own; samples N(., within).
    """
    import numpy as np

    level = generator.normal(0.0, noise.between_sd, (runs, processes, 1))
    level += noise.drift * np.exp(
        -np.arange(processes)[:, None] / noise.drift_processes
    )
    if noise.cycle:
        phase = generator.integers(4, size=(runs, 1, 1))
        level -= noise.cycle * ((np.arange(processes)[:, None] + phase) % 4 < 2)  # noqa: PLR2004
    return level + generator.normal(
        0.0, noise.within_sd, (runs, processes, repetitions)
    )


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

    verdict: Verdict
    covered: bool | None
    """The true ratio lay within its interval; None for a design without one."""
    per_arm: int
    """Processes of each arm that it had run by then."""


def random_places(runs: int, pairs: int, generator: "np.random.Generator") -> "Places":
    """Places of the candidate, first or second of its pair at random."""
    import numpy as np

    return 2 * np.arange(pairs) + generator.integers(2, size=(runs, pairs))


def _places(
    design: Design, *, runs: int, pairs: int, generator: "np.random.Generator"
) -> "Places":
    """Places in time of the candidate's processes, shape (runs, pairs).

    They are in the order in which they are paired with the baseline's.
    """
    import numpy as np

    if design in {Design.PAIRED, Design.LOOKS}:
        return random_places(runs, pairs, generator)
    fixed = np.arange(pairs, 2 * pairs)
    if design is Design.ABBA:
        fixed = 2 * np.arange(pairs) + (np.arange(pairs) + 1) % 2
    return np.tile(fixed, (runs, 1))


def claims_of(
    design: Design,
    baseline: "Floats",
    candidate: "Floats",
    truth: float,
    *,
    margin: float,
    sequential: SequentialTest,
) -> Iterator[Claim]:
    """Yield a claim for each run.

    `baseline` and `candidate` are logs, shape (runs, processes, repetitions), and
    `truth` is the true log-ratio.
    """
    match design:
        case Design.PAIRED | Design.ABBA:
            once = SequentialTest(looks=(_ARM,), alpha=sequential.alpha)
            return _paired(baseline, candidate, truth, margin=margin, sequential=once)
        case Design.LOOKS:
            return _paired(
                baseline, candidate, truth, margin=margin, sequential=sequential
            )
        case Design.SEQUENTIAL:
            means = _process_means(baseline), _process_means(candidate)
            return _welch(*means, truth, _ARM)
        case Design.WELCH:
            return _welch(baseline[:, 0], candidate[:, 0], truth, 1)
        case Design.MEANS:
            return _means_only(baseline, candidate, margin=margin)


def _paired(
    baseline: "Floats",
    candidate: "Floats",
    truth: float,
    *,
    margin: float,
    sequential: SequentialTest,
) -> Iterator[Claim]:
    """`judge_cases` for one case, in arrays; a test holds the two together."""
    rule = Rule(margin=margin, alpha=sequential.alpha_per_look)
    ratios = _process_means(candidate) - _process_means(baseline)
    seen = [_estimates(ratios[:, :count]) for count in sequential.looks]
    for at_looks in zip(*seen, strict=True):
        decided = (at_look for at_look in at_looks if rule.verdict(at_look).decided)
        look = next(decided, at_looks[-1])
        half = look.log_half_width(rule.alpha)
        yield Claim(
            verdict=rule.verdict(look),
            covered=half is not None and abs(look.mean_log - truth) <= half,
            per_arm=look.pairs,
        )


def _estimates(ratios: "Floats") -> Iterator[Estimate]:
    pairs = ratios.shape[1]
    means = ratios.mean(axis=1).tolist()
    deviations = ratios.std(axis=1, ddof=1).tolist()
    for mean, deviation in zip(means, deviations, strict=True):
        yield Estimate(pairs=pairs, mean_log=mean, sd_log=deviation)


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
            verdict = Verdict.INCONCLUSIVE
        else:
            verdict = Verdict.SLOWER if mean < 0 else Verdict.FASTER
        yield Claim(verdict=verdict, covered=abs(mean - truth) <= half, per_arm=per_arm)


def _means_only(
    baseline: "Floats", candidate: "Floats", *, margin: float
) -> Iterator[Claim]:
    """A mean beyond the margin is a change, any other is none."""
    log_margin = Rule(margin=margin, alpha=ALPHA).log_margin
    for mean in (_process_means(candidate) - _process_means(baseline))[:, 0].tolist():
        verdict = Verdict.SAME
        if abs(mean) >= log_margin:
            verdict = Verdict.SLOWER if mean < 0 else Verdict.FASTER
        yield Claim(verdict=verdict, covered=None, per_arm=1)


def _process_means(logs: "Floats") -> "Floats":
    """Log of the mean of each process' samples: shape (runs, processes)."""
    import numpy as np

    means: Floats = np.log(np.exp(logs).mean(axis=2))
    return means


LOSSES = (0.0, 0.02, 0.03, 0.05, 0.10)
"""True losses of speed that the self-test tries: none, the margin, and known-slow."""


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

    @property
    def text(self) -> str:
        """`95.2 ± 0.2 %`: the share and its standard error."""
        return f"{100 * self.share:.1f} ± {100 * self.standard_error:.1f} %"

    def misses(self, promised: float, *, chance: float = 3.0) -> bool:
        """Whether the share lies below what was promised by more than chance."""
        return self.share < promised - self._slack(promised, chance)

    def exceeds(self, promised: float, *, chance: float = 3.0) -> bool:
        """Whether the share lies above what was promised by more than chance."""
        return self.share > promised + self._slack(promised, chance)

    def _slack(self, promised: float, chance: float) -> float:
        return chance * math.sqrt(promised * (1 - promised) / max(self.runs, 1))


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
    sequential: SequentialTest = PLANNED,
    runs: int = 4000,
    seed: int = 0,
) -> Score:
    """Try one design on `runs` runs. The same seed gives the same figures.

    The known-slow candidate differs by its speed alone: same noise, same order.
    """
    import numpy as np

    pairs = {
        Design.LOOKS: sequential.looks[-1],
        Design.WELCH: 1,
        Design.MEANS: 1,
    }.get(design, _ARM)
    truth = math.log1p(-true_loss)
    generator = np.random.default_rng(seed)
    logs = draw_logs(
        noise,
        runs=runs,
        processes=2 * pairs,
        repetitions=repetitions,
        generator=generator,
    )
    places = _places(design, runs=runs, pairs=pairs, generator=generator)
    candidate = np.take_along_axis(logs, places[:, :, None], axis=1) + truth
    others = np.ones(logs.shape[:2], dtype=bool)
    np.put_along_axis(others, places, values=False, axis=1)
    baseline = logs[others].reshape(candidate.shape)
    claims = list(
        claims_of(
            design, baseline, candidate, truth, margin=margin, sequential=sequential
        )
    )
    covered = [claim.covered for claim in claims if claim.covered is not None]
    verdicts = [claim.verdict for claim in claims]
    claimed = [
        bool(claim.covered)
        for claim in claims
        if claim.covered is not None
        and claim.verdict in {Verdict.SLOWER, Verdict.FASTER}
    ]
    return Score(
        design=design,
        true_loss=true_loss,
        runs=runs,
        slower=verdicts.count(Verdict.SLOWER) / runs,
        faster=verdicts.count(Verdict.FASTER) / runs,
        same=verdicts.count(Verdict.SAME) / runs,
        inconclusive=verdicts.count(Verdict.INCONCLUSIVE) / runs,
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
    sequential: SequentialTest = PLANNED,
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
            sequential=sequential,
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
    sequential: SequentialTest = PLANNED,
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
    shape = (runs, sessions, sequential.looks[-1])
    logs = sd_log * generator.multivariate_normal(np.zeros(metrics), covariance, shape)
    covered = 0
    for run, stops in zip(logs, _stops(logs, sequential, margin), strict=True):
        estimates = [
            session_estimate(
                [
                    (Unit.TOKENS_PER_S, _pairs(session[:stop, metric].tolist()))
                    for metric in range(metrics)
                ]
            )
            for session, stop in zip(run, stops, strict=True)
        ]
        overall = headline(
            [item for item in estimates if item], alpha=sequential.alpha_per_look
        ).interval
        covered += overall is not None and overall.low <= 1 <= overall.high
    return Rate(share=covered / runs, runs=runs)


def _stops(
    logs: "Floats", sequential: SequentialTest, margin: float
) -> list[list[int]]:
    """Pairs of each session at the look by which every metric has a verdict."""
    import numpy as np

    rule = Rule(margin=margin, alpha=sequential.alpha_per_look)
    stops = np.full(logs.shape[:2], sequential.looks[-1])
    waiting = np.ones((*logs.shape[:2], logs.shape[3]), dtype=bool)
    for count in sequential.looks[:-1]:
        means = logs[:, :, :count].mean(axis=2)
        deviations = logs[:, :, :count].std(axis=2, ddof=1)
        for place in zip(*np.nonzero(waiting), strict=True):
            seen = Estimate(
                pairs=count,
                mean_log=float(means[place]),
                sd_log=float(deviations[place]),
            )
            waiting[place] = not rule.verdict(seen).decided
        stops = np.where(waiting.any(axis=2), stops, np.minimum(stops, count))
    counts: list[list[int]] = stops.tolist()
    return counts


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
        interval = estimate(ratios, rounding_log=rounding_log(arms)).interval(ALPHA)
        covered += interval is None or interval.low <= truth <= interval.high
    return Rate(share=covered / runs, runs=runs)
