"""What an audit says of published numbers, for readers and for programs."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import msgspec
from msgspec import Struct

from llamatrix.reference.conditions import Conditions, without
from llamatrix.reference.gpu import Gpu
from llamatrix.reference.quantity import Interval, Quantity
from llamatrix.reference.reference_set import Claim, Statement, Statistic


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
    """Ids of all numbers concerned, those the audit calculates with first."""
    says: str
    arithmetic: str
    hint: str = ""
    suspect: str | None = None
    """The one number that a misprint would explain, where exactly one is such."""

    @property
    def text(self) -> str:
        lines = [f"{self.severity}: {self.says}", f"  {self.arithmetic}"]
        if self.hint:
            lines.append(f"  hint: {self.hint}")
        return "\n".join([*lines, f"  claims: {', '.join(self.claims)}"])


class AuditReport(Struct, frozen=True, kw_only=True):
    """The document of `--json`."""

    schema_version: int = 1
    set: str
    claims: int
    """How many numbers were looked at."""
    statements: int = 0
    """How many sentences about their order and ratio."""
    findings: tuple[Finding, ...]
    unchecked: tuple[str, ...] = ()
    """What no rule could look at, and why."""
    says: tuple[str, ...] = ()
    not_said: tuple[str, ...] = ()
    """Of the source, beside its figures."""

    @property
    def text(self) -> str:
        sentences = f" and {self.statements} sentences" if self.statements else ""
        found = f"{len(self.findings)} findings"
        head = f"{self.set}: {self.claims} numbers{sentences}, {found}"
        parts = [head, *(one.text for one in self.findings)]
        for title, lines in (
            ("not checked:", self.unchecked),
            ("the source says, beside its figures:", self.says),
            ("the source does not say:", self.not_said),
        ):
            if lines:
                parts.append("\n".join([title, *(f"  {line}" for line in lines)]))
        return "\n\n".join(parts) + "\n"

    @property
    def json(self) -> str:
        """Indented, with a final newline."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2).decode() + "\n"


def findings_about(findings: Sequence[Finding], claim: str) -> tuple[Finding, ...]:
    """What a comparison that uses this number must carry."""
    return tuple(one for one in findings if claim in one.claims)


ON_CARD = 0.9
"""So much of a file is on the card at least: a token table may stay with the host."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """One number with all the places that print it: same subject, no contradiction."""

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
    claims: tuple[Claim, ...]
    gpus: Mapping[str, Gpu]
    statements: tuple[Statement, ...] = ()

    def of(self, *quantities: Quantity) -> tuple[Claim, ...]:
        return tuple(claim for claim in self.claims if claim.quantity in quantities)

    def figures(self, *quantities: Quantity) -> tuple[Figure, ...]:
        """Each number once, in file order; what contradicts it is another figure."""
        subjects: dict[object, list[Claim]] = defaultdict(list)
        for claim in self.of(*quantities):
            subjects[subject(claim)].append(claim)
        return tuple(
            Figure(claims=tuple(claims))
            for listed in subjects.values()
            for claims in _agreeing(listed)
        )

    def occasions(
        self, *quantities: Quantity
    ) -> Iterator[Mapping[Quantity, Sequence[Figure]]]:
        """Figures of one model under the same conditions, where all are printed."""
        found: dict[tuple[str, Conditions], dict[Quantity, list[Figure]]]
        found = defaultdict(lambda: defaultdict(list))
        for figure in self.figures(*quantities):
            claim = figure.first
            found[claim.model, claim.conditions][claim.quantity].append(figure)
        for by_quantity in found.values():
            if by_quantity.keys() == set(quantities):
                yield by_quantity

    def file_size(self, claim: Claim) -> Claim | None:
        """The printed size of the file that a number was measured with."""
        for size in self.of(Quantity.MODEL_SIZE):
            if size.model == claim.model and compatible(
                size.conditions, claim.conditions, ("quant", "file", "file_sha256")
            ):
                return size
        return None

    def gpu(self, claim: Claim) -> Gpu | None:
        return self.gpus.get(claim.conditions.gpu or "")


def subject(claim: Claim) -> tuple[str, Quantity, Statistic, Conditions]:
    """What the number is a number of; the same for all places that print it."""
    return claim.model, claim.quantity, claim.statistic, claim.conditions


def compatible(one: Conditions, other: Conditions, fields: Iterable[str]) -> bool:
    """Whether no field says two different things."""
    return not any(
        None not in (pair := (getattr(one, field), getattr(other, field)))
        and pair[0] != pair[1]
        for field in fields
    )


def _agreeing(claims: Sequence[Claim]) -> list[list[Claim]]:
    found: list[list[Claim]] = []
    for claim in sorted(claims, key=lambda one: one.interval.high - one.interval.low):
        for figure in found:
            if figure[0].interval.meets(claim.interval):
                figure.append(claim)
                break
        else:
            found.append([claim])
    return found


def hull(claims: Iterable[Claim]) -> Interval:
    intervals = [claim.interval for claim in claims]
    return Interval(
        low=min(one.low for one in intervals), high=max(one.high for one in intervals)
    )


def single(claim: Claim) -> bool:
    """Whether a rate is that of one plain stream of tokens."""
    conditions = claim.conditions
    return (conditions.streams or 1) == 1 and not conditions.speculative


def on_gpu(claim: Claim) -> bool:
    """Whether the whole model ran on the GPU, as far as anyone says."""
    return claim.conditions.offload in {None, "full"}


def along(claim: Claim, axis: str) -> tuple[object, ...]:
    """The subject with one condition left open."""
    model, quantity, statistic, conditions = subject(claim)
    return model, quantity, statistic, without(conditions, axis)
