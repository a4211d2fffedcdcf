"""The time in records, on a host whose clock is wrong."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from llamatrix.clock import correct, utc_now


@pytest.fixture(autouse=True)
def _right_again() -> Iterator[None]:
    yield
    correct(ahead_s=0.0)


@pytest.mark.parametrize("ahead_s", [0.0, 7200.0, -86_400.0 * 365])
def test_a_wrong_clock_is_corrected(ahead_s: float) -> None:
    correct(ahead_s=ahead_s)
    off = datetime.now(UTC) - datetime.fromisoformat(utc_now())
    assert off.total_seconds() == pytest.approx(ahead_s, abs=1.0)
    assert utc_now().endswith("+00:00")
