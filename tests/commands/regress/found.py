"""A synthetic comparison: one cell with a given ratio and verdict."""

from dataclasses import replace

from tests.stats.samples import QUIET, pairs_of

from llamatrix.compare.run import ArmFacts, TimingComparison
from llamatrix.stats.sequential import (
    PairedComparison,
    SequentialTest,
    judge,
    judge_cells,
)
from llamatrix.stats.verdict import Unit, Verdict

_FACTS = ArmFacts(
    pin="april", commit="f49e917" + 33 * "0", builds=("cpu",), sweep="smoke"
)


def compared(ratio: float = 1.0) -> PairedComparison:
    pairs = pairs_of([ratio * (1 + one) for one in QUIET])
    return judge(pairs, unit=Unit.TOKENS_PER_S, margin=0.02, alpha=0.05 / 3)


def found_with(**comparisons: PairedComparison) -> TimingComparison:
    return TimingComparison(
        baseline=_FACTS,
        candidate=replace(_FACTS, pin="current"),
        identical=False,
        profile="engines",
        host="a machine",
        sequential=SequentialTest(),
        judgement=judge_cells(comparisons),
        headline=None,
        wall_s=100.0,
        processes_s=98.0,
        processes=12,
    )


def found_of(ratio: float, verdict: Verdict) -> TimingComparison:
    """One cell that says the verdict, whatever the ratio would have it say."""
    return found_with(cell=replace(compared(ratio), verdict=verdict))
