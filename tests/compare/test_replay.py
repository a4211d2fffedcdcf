"""Which failing cases of a template make a candidate broken: the essential, new ones."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from llamatrix.compare.replay import (
    ChangedPromptsError,
    broken_template,
    newly_failing,
)
from llamatrix.errors import MeasureError
from llamatrix.measure.templates.checks import CaseResult, Conformance
from llamatrix.stats.pairs import Arm


def conformance(**cases: tuple[bool, bool]) -> Conformance:
    """By case: whether it is essential, and whether it passed."""
    return Conformance(
        template="other.jinja",
        template_sha256="0",
        pin="current",
        cases=tuple(
            CaseResult(id=name, essential=essential, passed=passed, reason=f"{name}!")
            for name, (essential, passed) in cases.items()
        ),
    )


GOOD = conformance(a=(True, True), b=(True, True), c=(False, True))
BAD = conformance(a=(True, False), b=(True, True), c=(False, False))


def test_an_essential_case_that_only_the_candidate_fails_breaks_it() -> None:
    said = newly_failing(GOOD, BAD)
    assert "other.jinja fails essential cases" in said
    assert said.endswith("a: a!")


def test_a_case_that_is_not_essential_breaks_nothing() -> None:
    assert newly_failing(GOOD, conformance(a=(True, True), c=(False, False))) == ""


def test_case_that_both_templates_fail_breaks_nothing() -> None:
    assert newly_failing(BAD, BAD) == ""


def test_every_failure_counts_without_a_known_baseline() -> None:
    assert "a: a!" in newly_failing(None, BAD)
    assert newly_failing(None, GOOD) == ""


@pytest.mark.parametrize(
    ("arm", "error", "raised"),
    [
        (Arm.BASELINE, MeasureError("the context is too small"), MeasureError),
        (Arm.CANDIDATE, ChangedPromptsError("--again"), ChangedPromptsError),
        (Arm.CANDIDATE, MeasureError("the template fails"), None),
    ],
)
def test_error_of_the_candidate_alone_breaks_it(
    tmp_path: Path,
    arm: Arm,
    error: MeasureError,
    raised: type[MeasureError] | None,
) -> None:
    def prepare(asked: Arm, _own: object) -> None:
        if asked is arm:
            raise error

    subject = SimpleNamespace(
        case=SimpleNamespace(id="case", identical=False, same_prompts=False),
        launches={arm: SimpleNamespace(template=tmp_path) for arm in Arm},
        project=SimpleNamespace(cache=tmp_path),
        prepare=prepare,
        conformance=lambda _: None,
        without_folders=lambda text, _: text,
    )
    if raised:
        with pytest.raises(raised):
            broken_template(subject, ())  # type: ignore[arg-type]
    else:
        assert "the template fails" in broken_template(subject, ())  # type: ignore[arg-type]
