"""Which failing cases of a template make a candidate broken: the essential, new ones."""

from llamatrix.campaigns.regress.proving import newly_failing
from llamatrix.measure.conformance.result import CaseResult, Conformance


def conformance(**cases: tuple[bool, bool]) -> Conformance:
    """By case: whether it is essential, and whether it passed."""
    return Conformance(
        template="made-up.jinja",
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
    assert "made-up.jinja fails essential cases" in said
    assert said.endswith("a: a!")


def test_a_case_that_is_not_essential_breaks_nothing() -> None:
    assert newly_failing(GOOD, conformance(a=(True, True), c=(False, False))) == ""


def test_what_the_baseline_fails_too_is_not_the_candidates_doing() -> None:
    assert newly_failing(BAD, BAD) == ""


def test_where_nothing_is_known_of_the_baseline_every_failure_counts() -> None:
    assert "a: a!" in newly_failing(None, BAD)
    assert newly_failing(None, GOOD) == ""
