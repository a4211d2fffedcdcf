"""The result of a check: passed, failed or not applicable, with a reason in words."""

from collections.abc import Sequence
from enum import StrEnum

from msgspec import Struct


class Kind(StrEnum):
    REQUIRES = "requires"
    """Something must exist: a workspace without work fails."""
    FORBIDS = "forbids"
    """Something must not exist: a workspace without work is not applicable."""


class Needs(StrEnum):
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
    """Nothing failed, but a check was not applicable: this is never a pass."""


class Finding(Struct, frozen=True, kw_only=True):
    check: str
    state: State
    reason: str
    """The reason, without secrets, in words that the model may read."""


class Judgement(Struct, frozen=True, kw_only=True):
    task: str
    verdict: Verdict
    findings: tuple[Finding, ...]
    """One per check of the task, in its order."""

    @property
    def failed(self) -> tuple[Finding, ...]:
        return tuple(f for f in self.findings if f.state is State.FAILED)


def verdict_of(findings: Sequence[Finding]) -> Verdict:
    states = {finding.state for finding in findings}
    if State.FAILED in states:
        return Verdict.FAILED
    return Verdict.UNDECIDED if State.NOT_APPLICABLE in states else Verdict.PASSED
