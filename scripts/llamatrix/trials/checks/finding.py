"""What a check says: passed, failed or not applicable, with the reason in plain words."""

from collections.abc import Sequence
from enum import StrEnum

from msgspec import Struct


class Kind(StrEnum):
    REQUIRES = "requires"
    """Something must be there: nothing done is a failure."""
    FORBIDS = "forbids"
    """Something must not be there: nothing done is not applicable."""


class Needs(StrEnum):
    """What a check cannot do without."""

    WORKSPACE = "workspace"
    TRAJECTORY = "trajectory"


class State(StrEnum):
    PASSED = "passed"
    FAILED = "failed"
    NOT_APPLICABLE = "n/a"


class Verdict(StrEnum):
    PASSED = "passed"
    FAILED = "failed"
    UNDECIDED = "undecided"
    """Nothing failed, but something could not be judged: never a pass."""


class Finding(Struct, frozen=True, kw_only=True):
    check: str
    state: State
    reason: str
    """Why, in words fit to be shown to the model; free of secrets."""


class Judgement(Struct, frozen=True, kw_only=True):
    task: str
    verdict: Verdict
    findings: tuple[Finding, ...]
    """One for each check of the task, in its order."""

    @property
    def failed(self) -> tuple[Finding, ...]:
        return tuple(f for f in self.findings if f.state is State.FAILED)


def verdict_of(findings: Sequence[Finding]) -> Verdict:
    states = {finding.state for finding in findings}
    if State.FAILED in states:
        return Verdict.FAILED
    return Verdict.UNDECIDED if State.NOT_APPLICABLE in states else Verdict.PASSED
