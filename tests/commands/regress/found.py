"""What a comparison found, made up: one cell of a set ratio and word."""

from dataclasses import replace

from tests.stats.samples import QUIET, pairs_of

from llamatrix.report.regress import ArmFacts, Regression, Timing
from llamatrix.stats.cells import judge_cells
from llamatrix.stats.judge import Comparison, judge
from llamatrix.stats.looks import Looks
from llamatrix.stats.metric import Unit
from llamatrix.stats.word import Word

_FACTS = ArmFacts(
    pin="april", commit="f49e917" + 33 * "0", builds=("cpu",), sweep="smoke"
)


def compared(ratio: float = 1.0) -> Comparison:
    pairs = pairs_of([ratio * (1 + one) for one in QUIET])
    return judge(pairs, unit=Unit.TOKENS_PER_S, margin=0.02, alpha=0.05 / 3)


def found_with(**comparisons: Comparison) -> Regression:
    return Regression(
        baseline=_FACTS,
        candidate=replace(_FACTS, pin="current"),
        identical=False,
        profile="engines",
        host="a machine",
        looks=Looks(),
        overall=judge_cells(comparisons),
        headline=None,
        timing=Timing(wall_s=100.0, processes_s=98.0, processes=12),
    )


def found_of(ratio: float, word: Word) -> Regression:
    """One cell that says the word, whatever the ratio would have it say."""
    return found_with(cell=replace(compared(ratio), word=word))
