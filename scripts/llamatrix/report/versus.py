"""One group of our records held against one reference set."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from msgspec import Struct

from llamatrix.reference.compare import NOT_MEASURED, ModelRatios, compare, model_ratios
from llamatrix.reference.gpu import Gpu
from llamatrix.reference.rules.rule import Finding
from llamatrix.reference.verdict import Comparison, ComparisonVerdict, Difference
from llamatrix.report.inputs import Published, SpeedIndex, TrialIndex
from llamatrix.report.our_numbers import our_numbers, our_trial_numbers
from llamatrix.report.speed import Group
from llamatrix.report.trials import TrialGroup

_SHOWN = 3
"""Reasons told where nothing is comparable."""


class Held(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What comes of it: part of the JSON of `invoke compare` and of certificates."""

    host: str
    weights: str
    pin: str
    build: str
    sweep: str
    """Of llama-bench's flags; empty for trials of an agent."""
    comparisons: tuple[Comparison, ...]
    """One for each published number, in the order of the set."""
    ratios: tuple[ModelRatios, ...]
    trials: str = ""
    """The setup that trials share; empty, and not written, for speeds."""

    @property
    def measured(self) -> tuple[Comparison, ...]:
        """Those for which we have a number."""
        return tuple(one for one in self.comparisons if one.ours is not None)

    def count(self, verdict: ComparisonVerdict) -> int:
        return sum(one.verdict is verdict for one in self.comparisons)

    @property
    def comparable(self) -> bool:
        """Whether at least one number could be held against the published one."""
        return self.count(ComparisonVerdict.NOT_COMPARABLE) < len(self.comparisons)

    @property
    def summary(self) -> str:
        """The count of each verdict, or in one line why nothing is comparable."""
        if not self.comparable:
            return f"Nothing is comparable: {'; '.join(self._reasons())}"
        missing = len(self.comparisons) - len(self.measured)
        apart = self.count(ComparisonVerdict.NOT_COMPARABLE) - missing
        return (
            f"{self.count(ComparisonVerdict.REPRODUCED)} reproduced, "
            f"{self.count(ComparisonVerdict.DIFFERS)} differ, "
            f"{self.count(ComparisonVerdict.TOO_FEW_TRIALS)} with too few trials, {apart} "
            f"measured but not comparable, {missing} not measured"
        )

    def _reasons(self) -> Iterator[str]:
        """Of all numbers that have one of their own, the most frequent first."""
        told = Counter(
            one.reason for one in self.comparisons if one.reason != NOT_MEASURED
        ) or Counter([NOT_MEASURED] * len(self.comparisons))
        for reason, count in told.most_common(_SHOWN):
            yield f"{count} number{'s' * (count > 1)}, {reason}"
        if len(told) > _SHOWN:
            yield f"and {len(told) - _SHOWN} other reasons"


@dataclass(frozen=True, kw_only=True, slots=True)
class Versus:
    published: Published
    group: Group | TrialGroup
    held: Held

    @property
    def carried(self) -> tuple[Finding, ...]:
        """What the audit says of the figures that ours are held against."""
        found = [finding for one in self.held.measured for finding in one.findings]
        return tuple(dict.fromkeys(found))

    def shared_differences(self) -> Mapping[Difference, int]:
        """How many measured numbers each difference of conditions concerns."""
        return Counter(
            difference for one in self.held.measured for difference in one.differences
        )


def versus(
    published: Published, group: Group, index: SpeedIndex, gpus: Mapping[str, Gpu]
) -> Versus:
    ours = our_numbers(published.claims, group, index, gpus)
    return Versus(
        published=published,
        group=group,
        held=Held(
            host=group.host_slug,
            weights=group.weights.value,
            pin=group.pin,
            build=group.build,
            sweep=group.sweep,
            comparisons=compare(published.claims, ours, findings=published.findings),
            ratios=model_ratios(published.claims, ours, findings=published.findings),
        ),
    )


def trials_versus(
    published: Published,
    group: TrialGroup,
    index: TrialIndex,
    gpus: Mapping[str, Gpu],
) -> Versus:
    """The same of an agent's trials."""
    ours = our_trial_numbers(published.claims, group, index, gpus)
    setup = group.setup
    return Versus(
        published=published,
        group=group,
        held=Held(
            host=setup.host_slug,
            weights=setup.weights.value,
            pin=setup.pin,
            build=setup.build,
            sweep="",
            trials=setup.words,
            comparisons=compare(published.claims, ours, findings=published.findings),
            ratios=model_ratios(published.claims, ours, findings=published.findings),
        ),
    )
