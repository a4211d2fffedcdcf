"""Holds the numbers of a reference set against each other and against physics.

The rules know quantities, units and conditions, and no set in particular.
"""

from collections.abc import Callable, Iterator, Mapping

from llamatrix.report.reference import (
    rule_agreement,
    rule_limits,
    rule_order,
    rule_totals,
)
from llamatrix.report.reference.finding import AuditReport, Finding, Severity
from llamatrix.report.reference.gpu import Gpu
from llamatrix.report.reference.ledger import Ledger
from llamatrix.report.reference.reference_set import ReferenceSet

Rule = Callable[[Ledger], Iterator[Finding]]

RULES: tuple[Rule, ...] = (
    rule_totals.totals,
    rule_agreement.printed_twice,
    rule_agreement.summaries,
    rule_limits.speed_limits,
    rule_limits.memory,
    rule_limits.weight_sizes,
    rule_order.parts,
    rule_order.agent_above_benchmark,
    rule_order.rising_rates,
)


def audit(whole: ReferenceSet, gpus: Mapping[str, Gpu]) -> tuple[Finding, ...]:
    """The worst first, otherwise in the order of the rules and of the file."""
    ledger = Ledger(claims=whole.claims(), gpus={**gpus, **whole.gpus})
    found = [finding for rule in RULES for finding in rule(ledger)]
    worst = list(Severity)
    return tuple(sorted(found, key=lambda finding: worst.index(finding.severity)))


def audit_report(
    name: str, whole: ReferenceSet, gpus: Mapping[str, Gpu]
) -> AuditReport:
    return AuditReport(
        set=name, claims=len(whole.claims()), findings=audit(whole, gpus)
    )
