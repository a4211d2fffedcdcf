"""The search for the first bad commit of a range: what to try next, and what is known."""

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from llamatrix.stats.pairs import Pair, Samples
from llamatrix.stats.sequential import JudgedCell, SequentialTest, judge_cases
from llamatrix.stats.verdict import Unit, Verdict

STEP = SequentialTest(looks=(5, 8, 12, 20, 32, 60))
"""A step that is INCONCLUSIVE after the looks of `regress` gets more pairs: they are
planned from the start, so that the intervals of all looks still hold together."""

ENOUGH_SKIPPED = 8
"""Commits skipped between a good and a bad one after which the range is the answer."""


class Mark(StrEnum):
    """What a step says of its commit."""

    GOOD = "good"
    BAD = "bad"
    SKIPPED = "skipped"
    """It does not build, does not run, or is INCONCLUSIVE after the last look."""


def mark_of(verdict: Verdict, *, searched: Verdict, ran: bool = True) -> Mark:
    """Return what a verdict against the good end means for the search.

    Of a slow range a commit that does not run says nothing, and of a broken one any
    commit that runs is good. `ran` is whether any pair of it gave a value.
    """
    if verdict is searched:
        return Mark.BAD
    if verdict in {Verdict.SAME, Verdict.FASTER}:
        return Mark.GOOD
    return Mark.GOOD if searched is Verdict.BROKEN and ran else Mark.SKIPPED


def step_margin(ratio: float, margin: float) -> float:
    """Return the loss that tells the good side from the bad one: half of the whole loss.

    `ratio` is the bad end's. Each commit has all of the loss or nothing of it, so the
    margin may be wider than the one by which the bad end was judged, and a step needs
    fewer pairs.
    """
    return max(margin, 1 - math.sqrt(min(1.0, ratio)))


@dataclass(frozen=True, kw_only=True, slots=True)
class Search:
    """Commits by position, from 0, the good end, to `last`, the bad end."""

    last: int
    marks: Mapping[int, Mark] = field(default_factory=dict)
    """Of the positions that were tried; the good end is good without a step."""

    @property
    def bad(self) -> int:
        """The first position that is known to be bad; the bad end where none is."""
        return min(self._marked(Mark.BAD), default=self.last)

    @property
    def good(self) -> int:
        """The last good position before `bad`."""
        before = [place for place in self._marked(Mark.GOOD) if place < self.bad]
        return max(before, default=0)

    @property
    def culprits(self) -> range:
        """The positions among which the first bad one is: one where it is found."""
        return range(self.good + 1, self.bad + 1)

    @property
    def most_left(self) -> int:
        """How many further steps it takes at most, where none is skipped."""
        ends = self.last not in self.marks
        return ends + (self.bad - self.good - 1).bit_length()

    def next_position(self) -> int | None:
        """Return what to try next: the bad end, then the middle; None at the end.

        From skipped positions the next one lies ever farther off, to either side in
        turn, so that a run of commits that do not build is soon behind.
        """
        if self.last not in self.marks:
            return self.last
        between = range(self.good + 1, self.bad)
        untried = [place for place in between if place not in self.marks]
        skipped = len(between) - len(untried)
        if self.marks[self.last] is not Mark.BAD or skipped >= ENOUGH_SKIPPED:
            return None
        target = (self.good + self.bad) // 2
        if skipped:
            farther = min(4 ** (skipped - 1), max(1, len(between) // 4))
            target += (-1) ** skipped * farther
        return min(untried, key=lambda place: abs(place - target), default=None)

    def marked(self, position: int, mark: Mark) -> "Search":
        return Search(last=self.last, marks={**self.marks, position: mark})

    def _marked(self, mark: Mark) -> list[int]:
        return [place for place, known in self.marks.items() if known is mark]


def simulate_search(
    *, commits: int, slow: int | None, loss: float, noise: float, seed: int
) -> tuple[Verdict, Search]:
    """Search a range whose commits from position `slow` on lose `loss` of their speed.

    Return the verdict on the bad end, and how the search ended.

    Processes differ by `noise`, a standard deviation of the log of their speed.
    """
    draw = random.Random(seed)  # noqa: S311

    def pairs(position: int) -> Samples:
        lost = 0.0 if slow is None or position < slow else math.log1p(-loss)
        numbers = range(1, STEP.looks[-1] + 1)
        return Samples(
            unit=Unit.TOKENS_PER_S,
            pairs=tuple(
                Pair(
                    number=number,
                    baseline=math.exp(draw.gauss(0, noise)),
                    candidate=math.exp(draw.gauss(lost, noise)),
                )
                for number in numbers
            ),
        )

    def judged(position: int, margin: float) -> JudgedCell:
        samples = {"": pairs(position)}
        return judge_cases(samples, margins={"": margin}, sequential=STEP).cells[0]

    margin = Unit.TOKENS_PER_S.margin
    search = Search(last=commits - 1)
    end = judged(search.last, margin)
    search = search.marked(search.last, mark_of(end.verdict, searched=Verdict.SLOWER))
    if end.comparison.estimate:
        margin = step_margin(end.comparison.estimate.ratio, margin)
    while (position := search.next_position()) is not None:
        verdict = judged(position, margin).verdict
        search = search.marked(position, mark_of(verdict, searched=Verdict.SLOWER))
    return end.verdict, search
