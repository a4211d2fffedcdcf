"""What a template came to: one line for each case, as records and pages keep it."""

from msgspec import Struct


class CaseResult(Struct, frozen=True, kw_only=True):
    id: str
    essential: bool
    passed: bool
    reason: str
    """Empty where it passed."""
    bug: str = ""


class Conformance(Struct, frozen=True, kw_only=True):
    template: str
    """Its name, for people."""
    template_sha256: str
    pin: str
    cases: tuple[CaseResult, ...]

    @property
    def essentials_passed(self) -> bool:
        return all(case.passed for case in self.cases if case.essential)

    @property
    def failed(self) -> tuple[CaseResult, ...]:
        return tuple(case for case in self.cases if not case.passed)
