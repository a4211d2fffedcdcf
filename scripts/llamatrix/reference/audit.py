"""Checks the numbers of a reference set against each other and against physics.

The rules know quantities, units and conditions, but no particular set.
"""

from collections import Counter
from collections.abc import Iterator, Mapping

from msgspec import Struct

from llamatrix.config.complaint import nearest
from llamatrix.reference.gpu import Gpu
from llamatrix.reference.quantity import Quantity
from llamatrix.reference.reference_set import ReferenceSet
from llamatrix.reference.roofline import NoRoofline, rooflines
from llamatrix.reference.rules import agreement, digits, limits, memory
from llamatrix.reference.rules.rule import ClaimIndex, Finding, Rule, Severity
from llamatrix.units import json_text

RULES: tuple[Rule, ...] = (
    digits.totals,
    agreement.printed_twice,
    agreement.summaries,
    limits.speed_limits,
    memory.memory,
    memory.contexts,
    memory.largest_that_fits,
    limits.weight_sizes,
    limits.parts,
    limits.agent_above_benchmark,
    limits.rising_rates,
    digits.misprinted_contexts,
    agreement.statements,
)


class AuditReport(Struct, frozen=True, kw_only=True):
    """The document of `--json`."""

    schema_version: int = 1
    set: str
    claims: int
    """Number of audited claims."""
    statements: int = 0
    """Number of audited sentences about the order and ratio of claims."""
    findings: tuple[Finding, ...]
    unchecked: tuple[str, ...] = ()
    """Claims that no rule could check, and why."""
    says: tuple[str, ...] = ()
    not_said: tuple[str, ...] = ()
    """Of the source, beside its figures."""

    @property
    def text(self) -> str:
        sentences = f" and {self.statements} sentences" if self.statements else ""
        count = f"{len(self.findings)} findings"
        head = f"{self.set}: {self.claims} numbers{sentences}, {count}"
        parts = [head, *(finding.text for finding in self.findings)]
        for title, lines in (
            ("not checked:", self.unchecked),
            ("notes of the source:", self.says),
            ("not stated by the source:", self.not_said),
        ):
            if lines:
                parts.append("\n".join([title, *(f"  {line}" for line in lines)]))
        return "\n\n".join(parts) + "\n"

    @property
    def json(self) -> str:
        return json_text(self) + "\n"


def audit(reference_set: ReferenceSet, gpus: Mapping[str, Gpu]) -> tuple[Finding, ...]:
    """Return the findings, the most severe first, otherwise by rule and in file order."""
    index = ClaimIndex(
        claims=reference_set.claims(),
        gpus={**gpus, **reference_set.gpus},
        statements=tuple(reference_set.statements.values()),
    )
    findings = [finding for rule in RULES for finding in rule(index)]
    order = list(Severity)
    return tuple(sorted(findings, key=lambda finding: order.index(finding.severity)))


def audit_report(
    name: str, reference_set: ReferenceSet, gpus: Mapping[str, Gpu]
) -> AuditReport:
    return AuditReport(
        set=name,
        claims=len(reference_set.claims()),
        statements=len(reference_set.statements),
        findings=audit(reference_set, gpus),
        unchecked=tuple(_unchecked(reference_set, gpus)),
        says=reference_set.source.says,
        not_said=reference_set.source.not_said,
    )


def _unchecked(reference_set: ReferenceSet, gpus: Mapping[str, Gpu]) -> Iterator[str]:
    reasons = Counter(
        bound.reason
        for bound in rooflines(reference_set, gpus)
        if isinstance(bound, NoRoofline)
    )
    for reason, count in reasons.items():
        yield f"{count} speed{'s' * (count > 1)} against the hardware: {reason}"
    claims = reference_set.claims()
    shapeless = {
        claim.model
        for claim in claims
        if claim.quantity in {Quantity.VRAM, Quantity.MAX_CONTEXT}
        and memory.memory_shape(claim) is None
    }
    for model in sorted(shapeless):
        yield f"memory against the context of {model}: its layers are not known"
    known = {*gpus, *reference_set.gpus}
    for key in sorted({claim.conditions.gpu or "" for claim in claims} - {""}):
        if key not in known:
            yield f"GPU {key}: no data sheet here{nearest(key, known)}"
