"""When a machine is steady: noise may stay, a run one way may not."""

import pytest

from llamatrix.compare.session import is_steady


@pytest.mark.parametrize(
    ("values", "steady"),
    [
        ([], False),
        ([100.0, 90.0], False),
        ([100.0, 96.0, 93.0], False),
        ([93.0, 96.0, 100.0], False),
        ([100.0, 99.5, 99.0], True),
        ([100.0, 90.0, 97.0], True),
        ([120.0, 100.0, 99.5, 99.0], True),
        ([None, None, None], True),
    ],
)
def test_monotonic_change_beyond_two_percent_is_drift(
    values: list[float | None], *, steady: bool
) -> None:
    assert is_steady(values) is steady
