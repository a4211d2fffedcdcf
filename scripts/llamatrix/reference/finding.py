"""What an audit says of published numbers, for readers and for programs."""

from collections.abc import Sequence
from enum import StrEnum

import msgspec
from msgspec import Struct


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


def concerning(findings: Sequence[Finding], claim: str) -> tuple[Finding, ...]:
    """What a comparison that uses this number must carry."""
    return tuple(one for one in findings if claim in one.claims)
