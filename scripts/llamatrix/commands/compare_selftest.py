"""`invoke compare --selftest`: how often a faithful reproduction is called otherwise.

Everything is drawn from one seed: what is published and what we measure come from the
same synthetic agent and the same class of card, so that every `differs` is a false one.
"""

import dataclasses
import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llamatrix.reference.compare import compare, compare_one
from llamatrix.reference.quantity import RATES, Quantity
from llamatrix.reference.reference_set import Claim
from llamatrix.reference.verdict import (
    COUNTS,
    Comparison,
    ComparisonVerdict,
    OurNumber,
    significant_after_holm,
)
from llamatrix.report.table import Table, count, numbers
from llamatrix.stats.intervals import ALPHA
from llamatrix.stats.power import POWER, LogPrediction
from llamatrix.stats.simulation import Rate

if TYPE_CHECKING:
    from numpy.random import Generator

TRIALS = (3, 5, 10, 20)
_SEED = 20260405
_LINE_RUNS = 4000
_FAMILY_RUNS = 300
_PREFILL_SD, _GENERATION_SD = 0.08, 0.02
"""Log-sd of an agent's speeds from one trial to the next."""
_SECOND_MODE = 0.3
"""Of two modes, the share of trials that take three times as many tokens."""
_CLASS = 0.08
"""A card may be so much faster or slower than another of its class."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LineScore:
    """One quantity of a trial, by itself."""

    kind: str
    trials: int
    differs: Rate
    too_few: Rate
    seen: tuple[Rate, ...]
    """`differs` where the figure is off by the factor of the true spread, by that which
    other trials stated for the spread they had seen, by that for its upper bound."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FamilyScore:
    """All numbers of a set together."""

    trials: int
    processes: int
    lines: tuple[float, ...]
    """Of each run the share of numbers called `differs`; those of a run hang together."""
    exits_1: Rate
    """Of faithful reproductions."""
    slow_exits_1: Rate
    """Where every speed of ours is a quarter lower."""

    @property
    def texts(self) -> tuple[str, ...]:
        error = statistics.stdev(self.lines) / math.sqrt(len(self.lines))
        lines = f"{100 * statistics.fmean(self.lines):.1f} ± {100 * error:.1f} %"
        return lines, self.exits_1.text, self.slow_exits_1.text


def line_scores(claims: Mapping[Quantity, Claim]) -> Iterator[LineScore]:
    """For spreads of 0.3 and 0.8, and for one that is far from normal (no promise)."""
    for kind in ("log-sd 0.3", "log-sd 0.8", "two modes", "count"):
        quantity = Quantity.API_CALLS if kind == "count" else Quantity.GENERATED_TOKENS
        yield from (_line_score(claims[quantity], kind, count) for count in TRIALS)


def family_scores(claims: Sequence[Claim]) -> Iterator[FamilyScore]:
    for trials, processes in ((3, 1), (5, 1), (5, 3), (10, 2), (20, 3)):
        yield _family_score(claims, trials, processes)


def line_table(scores: Sequence[LineScore]) -> Table:
    return Table(
        caption="One number: a figure drawn from the same trials",
        columns=(
            "Values",
            *numbers("Trials", "differs", "too few trials", "Seen at true factor"),
            *numbers("Seen at stated factor", "Seen at its upper bound"),
        ),
        rows=tuple(
            (
                score.kind,
                count(score.trials),
                score.differs.text,
                score.too_few.text,
                *(
                    share.text if score.kind.startswith("log-sd") else ""
                    for share in score.seen
                ),
            )
            for score in scores
        ),
    )


def family_table(scores: Sequence[FamilyScore], name: str) -> Table:
    return Table(
        caption=f"All numbers of {name} together",
        columns=numbers(
            *("Trials", "Processes", "Single numbers that differ"),
            *("Exit code 1", "Exit code 1, all speeds 25 % lower"),
        ),
        rows=tuple(
            (count(score.trials), count(score.processes), *score.texts)
            for score in scores
        ),
    )


def broken_promises(
    lines: Sequence[LineScore], families: Sequence[FamilyScore]
) -> Iterator[str]:
    for line in lines:
        if line.kind != "two modes" and line.differs.exceeds(ALPHA):
            yield f"{line.kind}, {line.trials} trials: differs {line.differs.text}"
        upper = line.seen[-1]
        if line.kind.startswith("log-sd") and upper.misses(POWER):
            yield f"{line.kind}, {line.trials} trials: upper bound seen {upper.text}"
    for family in families:
        where = f"{family.trials} trials, {family.processes} processes"
        if family.exits_1.exceeds(ALPHA):
            yield f"{where}: exit code 1 in {family.exits_1.text}"


def _line_score(claim: Claim, kind: str, trials: int) -> LineScore:
    import numpy as np

    generator = np.random.default_rng([_SEED, trials, len(kind), ord(kind[-1])])
    differs, too_few, seen = 0, 0, [0, 0, 0]
    factor = _true_factor(kind, trials)
    for _ in range(_LINE_RUNS):
        *ours, theirs = _draws(kind, trials + 1, generator)
        comparison = _compared(claim, ours, theirs)
        differs += comparison.verdict is ComparisonVerdict.DIFFERS
        too_few += comparison.verdict is ComparisonVerdict.TOO_FEW_TRIALS
        stated = (
            factor,
            comparison.detectable_factor,
            comparison.detectable_factor_upper,
        )
        *ours, theirs = _draws(kind, trials + 1, generator)
        for place, number in enumerate(stated):
            again = _compared(claim, ours, theirs * number) if number else comparison
            seen[place] += again.verdict is ComparisonVerdict.DIFFERS
    return LineScore(
        kind=kind,
        trials=trials,
        differs=Rate(share=differs / _LINE_RUNS, runs=_LINE_RUNS),
        too_few=Rate(share=too_few / _LINE_RUNS, runs=_LINE_RUNS),
        seen=tuple(Rate(share=count / _LINE_RUNS, runs=_LINE_RUNS) for count in seen),
    )


def _draws(kind: str, count: int, generator: "Generator") -> list[float]:
    match kind:
        case "count":
            return [1.0 + float(n) for n in generator.poisson(9, count)]
        case "two modes":
            tripled = generator.random(count) < _SECOND_MODE
            logs = generator.normal(0, 0.1, count) + 1.1 * tripled
        case _:
            logs = generator.normal(0, float(kind.split()[1]), count)
    return [float(round(3000 * math.exp(log))) for log in logs]


def _true_factor(kind: str, trials: int) -> float:
    sd = float(kind.split()[1]) if kind.startswith("log-sd") else 0.0
    return LogPrediction(trials=trials, mean_log=0.0, sd_log=sd).detectable_factor


def _compared(claim: Claim, ours: Sequence[float], theirs: float) -> Comparison:
    drawn = dataclasses.replace(claim, value=float(max(1, round(theirs))))
    return compare_one(drawn, _number(drawn, ours))


def _number(claim: Claim, values: Sequence[float]) -> OurNumber:
    return OurNumber(claim=claim.id, values=tuple(values), conditions=claim.conditions)


def _family_score(claims: Sequence[Claim], trials: int, processes: int) -> FamilyScore:
    import numpy as np

    generator = np.random.default_rng([_SEED, trials, processes])
    exits, slow_exits, lines = 0, 0, []
    for _ in range(_FAMILY_RUNS):
        theirs, ours = _Session(claims, generator).drawn(trials, processes)
        comparisons = compare(theirs, ours)
        tested = [
            comparison for comparison in comparisons if comparison.p_value is not None
        ]
        lines.append(
            statistics.fmean(
                comparison.verdict is ComparisonVerdict.DIFFERS for comparison in tested
            )
        )
        exits += bool(significant_after_holm(comparisons))
        slow = ours | {
            claim.id: _number(claim, [0.75 * value for value in ours[claim.id].values])
            for claim in theirs
            if claim.quantity in RATES
        }
        slow_exits += bool(significant_after_holm(compare(theirs, slow)))
    return FamilyScore(
        trials=trials,
        processes=processes,
        exits_1=Rate(share=exits / _FAMILY_RUNS, runs=_FAMILY_RUNS),
        slow_exits_1=Rate(share=slow_exits / _FAMILY_RUNS, runs=_FAMILY_RUNS),
        lines=tuple(lines),
    )


class _Session:
    """One published set and one reproduction of it, both drawn.

    A trial's tokens, calls and times rise and fall together, as they do in reality.
    """

    def __init__(self, claims: Sequence[Claim], generator: "Generator") -> None:
        self._claims = claims
        self._generator = generator
        self._latent: dict[tuple[str, str], list[float]] = {}
        self._values: dict[tuple[str, str, Quantity], list[float]] = {}

    def drawn(
        self, trials: int, processes: int
    ) -> tuple[tuple[Claim, ...], dict[str, OurNumber]]:
        card = math.exp(self._generator.uniform(-_CLASS, _CLASS))
        theirs, ours = [], {}
        for claim in self._claims:
            task = claim.conditions.task
            if task is not None and claim.quantity is not Quantity.VRAM:
                *mine, published = self._trial_values(claim, task, trials + 1)
                if claim.quantity in RATES:
                    published *= card
            elif claim.quantity in RATES and claim.conditions.task is None:
                if claim.conditions.program != "llama-bench":
                    continue
                sd = 0.02 if claim.conditions.prompt_tokens == 512 else 0.007  # noqa: PLR2004
                mine = [
                    claim.value * math.exp(log)
                    for log in self._generator.normal(0, sd, processes)
                ]
                published = claim.value * card
            else:
                continue
            value = max(claim.step, claim.step * round(published / claim.step))
            drawn = dataclasses.replace(claim, value=value)
            theirs.append(drawn)
            ours[claim.id] = _number(drawn, mine)
        return tuple(theirs), ours

    def _trial_values(self, claim: Claim, task: str, count: int) -> list[float]:
        """The same for every place that prints the quantity."""
        key = (claim.model, task, claim.quantity)
        if key not in self._values:
            latent = self._latent.setdefault(
                (claim.model, task), list(self._generator.normal(0, 0.35, count))
            )
            self._values[key] = [self._trial_value(claim, shared) for shared in latent]
        return self._values[key]

    def _trial_value(self, claim: Claim, shared: float) -> float:
        draw = self._generator
        if claim.quantity is Quantity.CORRECT_TURN:
            return float(draw.choice([1, 2, 3], p=[0.7, 0.2, 0.1]))
        if claim.quantity in COUNTS:
            return 1.0 + float(draw.poisson(claim.value * math.exp(shared / 2)))
        if claim.quantity in RATES:
            is_prefill = claim.quantity is Quantity.PREFILL_RATE
            sd = _PREFILL_SD if is_prefill else _GENERATION_SD
            return claim.value * math.exp(draw.normal(0, sd))
        return claim.value * math.exp(shared + draw.normal(0, 0.1))
