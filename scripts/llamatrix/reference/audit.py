"""Holds the numbers of a reference set against each other and against physics.

The rules know quantities, units and conditions, and no set in particular.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping

from llamatrix.config.complaint import nearest
from llamatrix.reference.gpu import Gpu
from llamatrix.reference.quantity import Quantity
from llamatrix.reference.reference_set import ReferenceSet
from llamatrix.reference.roofline import NoRoofline, rooflines
from llamatrix.reference.rules import agreement, digits, limits, memory
from llamatrix.reference.rules.rule import AuditReport, ClaimIndex, Finding, Severity

Rule = Callable[[ClaimIndex], Iterator[Finding]]

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
    digits.slips,
    agreement.statements,
)


def audit(whole: ReferenceSet, gpus: Mapping[str, Gpu]) -> tuple[Finding, ...]:
    """The worst first, otherwise in the order of the rules and of the file."""
    ledger = ClaimIndex(
        claims=whole.claims(),
        gpus={**gpus, **whole.gpus},
        statements=tuple(whole.statements.values()),
    )
    found = [finding for rule in RULES for finding in rule(ledger)]
    worst = list(Severity)
    return tuple(sorted(found, key=lambda finding: worst.index(finding.severity)))


def audit_report(
    name: str, whole: ReferenceSet, gpus: Mapping[str, Gpu]
) -> AuditReport:
    return AuditReport(
        set=name,
        claims=len(whole.claims()),
        statements=len(whole.statements),
        findings=audit(whole, gpus),
        unchecked=tuple(_unchecked(whole, gpus)),
        says=whole.source.says,
        not_said=whole.source.not_said,
    )


def _unchecked(whole: ReferenceSet, gpus: Mapping[str, Gpu]) -> Iterator[str]:
    """What no rule could look at, by reason."""
    found = rooflines(whole, gpus)
    reasons = Counter(one.reason for one in found if isinstance(one, NoRoofline))
    for reason, count in reasons.items():
        yield f"{count} speed{'s' * (count > 1)} against the hardware: {reason}"
    shapeless = {
        claim.model
        for claim in whole.claims()
        if claim.quantity in {Quantity.VRAM, Quantity.MAX_CONTEXT}
        and memory.memory_shape(claim) is None
    }
    for model in sorted(shapeless):
        yield f"memory against the context of {model}: its layers are not known"
    known = {*gpus, *whole.gpus}
    for key in sorted({claim.conditions.gpu or "" for claim in whole.claims()} - {""}):
        if key not in known:
            yield f"GPU {key}: no data sheet here{nearest(key, known)}"
