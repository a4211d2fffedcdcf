"""The contract of audit rules: a rule reads a `ClaimIndex` and yields `Finding`s."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from msgspec import Struct

from llamatrix.reference.conditions import Conditions, without
from llamatrix.reference.gpu import Gpu
from llamatrix.reference.quantity import Interval, Quantity
from llamatrix.reference.reference_set import Claim, Statement, Statistic

MIN_SHARE_ON_CARD = 0.9
"""Of a model file: a table of token embeddings may stay on the host."""


class Severity(StrEnum):
    IMPOSSIBLE = "impossible"
    """Not all of the figures can be right."""
    INCONSISTENT = "inconsistent"
    """They disagree by more than their rounding."""
    ODD = "odd"
    """Possible, but worth a question."""


class Finding(Struct, frozen=True, kw_only=True):
    rule: str
    severity: Severity
    claims: tuple[str, ...]
    """Ids of all claims concerned, those in the arithmetic first."""
    says: str
    arithmetic: str
    hint: str = ""
    suspect: str | None = None
    """The claim that a misprint would explain, where there is exactly one."""

    @property
    def text(self) -> str:
        lines = [f"{self.severity}: {self.says}", f"  {self.arithmetic}"]
        if self.hint:
            lines.append(f"  hint: {self.hint}")
        return "\n".join([*lines, f"  claims: {', '.join(self.claims)}"])


def findings_about(findings: Sequence[Finding], claim: str) -> tuple[Finding, ...]:
    """Return the findings that a comparison with this claim must carry."""
    return tuple(finding for finding in findings if claim in finding.claims)


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """One number and all claims that print it without contradiction."""

    claims: tuple[Claim, ...]
    """The most finely printed first."""

    @property
    def first(self) -> Claim:
        return self.claims[0]

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(claim.id for claim in self.claims)


@dataclass(frozen=True, kw_only=True, slots=True)
class ClaimIndex:
    """The claims of a set by quantity, subject and conditions."""

    claims: tuple[Claim, ...]
    gpus: Mapping[str, Gpu]
    statements: tuple[Statement, ...] = ()

    def of(self, *quantities: Quantity) -> tuple[Claim, ...]:
        return tuple(claim for claim in self.claims if claim.quantity in quantities)

    def figures(self, *quantities: Quantity) -> tuple[Figure, ...]:
        """Return each number once, in file order; contradictions are separate figures."""
        subjects: dict[object, list[Claim]] = defaultdict(list)
        for claim in self.of(*quantities):
            subjects[subject(claim)].append(claim)
        return tuple(
            Figure(claims=tuple(claims))
            for same_subject in subjects.values()
            for claims in _agreeing(same_subject)
        )

    def occasions(
        self, *quantities: Quantity
    ) -> Iterator[Mapping[Quantity, Sequence[Figure]]]:
        """Yield figures of one model under equal conditions that print all quantities."""
        occasions: dict[tuple[str, Conditions], dict[Quantity, list[Figure]]]
        occasions = defaultdict(lambda: defaultdict(list))
        for figure in self.figures(*quantities):
            claim = figure.first
            occasions[claim.model, claim.conditions][claim.quantity].append(figure)
        for by_quantity in occasions.values():
            if by_quantity.keys() == set(quantities):
                yield by_quantity

    def file_size(self, claim: Claim) -> Claim | None:
        """Return the printed size of the file that a number was measured with."""
        for size in self.of(Quantity.MODEL_SIZE):
            if size.model == claim.model and compatible(
                size.conditions, claim.conditions, ("quant", "file", "file_sha256")
            ):
                return size
        return None

    def gpu(self, claim: Claim) -> Gpu | None:
        return self.gpus.get(claim.conditions.gpu or "")


Rule = Callable[[ClaimIndex], Iterator[Finding]]


def subject(claim: Claim) -> tuple[str, Quantity, Statistic, Conditions]:
    """Return what the number measures: equal for all claims that print the same number."""
    return claim.model, claim.quantity, claim.statistic, claim.conditions


def along(claim: Claim, axis: str) -> tuple[object, ...]:
    model, quantity, statistic, conditions = subject(claim)
    return model, quantity, statistic, without(conditions, axis)


def compatible(first: Conditions, second: Conditions, fields: Iterable[str]) -> bool:
    return not any(
        None not in (pair := (getattr(first, field), getattr(second, field)))
        and pair[0] != pair[1]
        for field in fields
    )


def _agreeing(claims: Sequence[Claim]) -> list[list[Claim]]:
    groups: list[list[Claim]] = []
    for claim in sorted(
        claims, key=lambda claim: claim.interval.high - claim.interval.low
    ):
        for group in groups:
            if group[0].interval.meets(claim.interval):
                group.append(claim)
                break
        else:
            groups.append([claim])
    return groups


def hull(claims: Iterable[Claim]) -> Interval:
    intervals = [claim.interval for claim in claims]
    return Interval(
        low=min(interval.low for interval in intervals),
        high=max(interval.high for interval in intervals),
    )


def single(claim: Claim) -> bool:
    """Return whether a rate is that of one stream without speculative decoding."""
    conditions = claim.conditions
    return (conditions.streams or 1) == 1 and not conditions.speculative


def on_gpu(claim: Claim) -> bool:
    """Return whether the complete model ran on the GPU, as far as stated."""
    return claim.conditions.offload in {None, "full"}
