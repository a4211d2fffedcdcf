"""A slip of a digit is recognised, the simplest first."""

from pathlib import Path

import pytest
from tests.reference.made_up import CLEAN, loaded

from llamatrix.reference.misprint import misprints, simplest
from llamatrix.reference.quantity import Interval
from llamatrix.reference.reference_set import Claim


@pytest.fixture
def time(tmp_path: Path) -> Claim:
    """It says 63.91 s."""
    (found,) = (
        claim
        for claim in loaded(CLEAN, tmp_path).claims()
        if claim.id == "agent/qwen35-27b/p1/generation-time"
    )
    return found


@pytest.mark.parametrize(
    ("meant", "kind"),
    [
        (6.91, "one digit too many"),
        (36.91, "two digits swapped"),
        (6.391, "point misplaced"),
        (63.41, "one digit wrong"),
        (163.91, "one digit missing"),
    ],
)
def test_a_single_slip_is_named_by_its_kind(
    meant: float, kind: str, time: Claim
) -> None:
    near = Interval(low=meant - 0.001, high=meant + 0.001)
    found = simplest(misprints(time, near.meets))
    assert found[0].kind == kind
    assert found[0].value == pytest.approx(meant)


def test_what_no_single_slip_explains_stays_unexplained(time: Claim) -> None:
    assert misprints(time, Interval(low=77.70, high=77.75).meets) == ()
