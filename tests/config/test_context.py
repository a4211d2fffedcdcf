"""Which profile a machine gets."""

import pytest
from tests.shipped import shipped_matrix

from llamatrix.config.context import profile_of_card

_MATRIX = shipped_matrix()


@pytest.mark.parametrize(
    ("gib", "profile"),
    [
        (80, "published"),
        (23.7, "published"),
        (15.6, "card-16gb"),
        (11.7, "card-12gb"),
        (7.6, "card-8gb"),
        (5.8, "smoke"),
    ],
)
def test_card_gets_the_profile_whose_models_it_holds(gib: float, profile: str) -> None:
    assert profile_of_card(round(gib * 2**30)) == profile
    assert profile in _MATRIX.profiles
