"""Thousands of made-up comparisons: how often each design is wrong, and how often right."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from llamatrix.verdict.designs import Design, way
from llamatrix.verdict.looks import Looks
from llamatrix.verdict.noise import Noise, draw_logs
from llamatrix.verdict.word import Word

LOSSES = (0.0, 0.02, 0.03, 0.05, 0.10)
"""True losses of speed that the self-test tries: none, the margin, and known-slow."""
_PLANNED = Looks()


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
    """How often the deciding interval held the true ratio; None without one."""
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
    places = list(tried.candidate_at)
    logs = draw_logs(
        noise,
        runs=runs,
        processes=2 * len(places),
        repetitions=repetitions,
        generator=np.random.default_rng(seed),
    )
    logs[:, places] += truth
    baseline, candidate = np.delete(logs, places, axis=1), logs[:, places]
    claims = list(tried.judge(baseline, candidate, truth))
    covered = [claim.covered for claim in claims if claim.covered is not None]
    words = [claim.word for claim in claims]
    return Score(
        design=design,
        true_loss=true_loss,
        runs=runs,
        slower=words.count(Word.SLOWER) / runs,
        faster=words.count(Word.FASTER) / runs,
        same=words.count(Word.SAME) / runs,
        inconclusive=words.count(Word.INCONCLUSIVE) / runs,
        coverage=sum(covered) / runs if covered else None,
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
