"""The time in records: UTC, by the driver's clock on a host whose own is wrong."""

import time
from datetime import UTC, datetime

_corrected: list[tuple[float, float]] = []
"""The right time and the monotonic one at the same moment; empty for a right clock."""


def utc_now() -> str:
    """Return the time for a record, in ISO 8601 with milliseconds."""
    if _corrected:
        then_s, monotonic_s = _corrected[0]
        now = datetime.fromtimestamp(then_s + time.monotonic() - monotonic_s, UTC)
    else:
        now = datetime.now(UTC)
    return now.isoformat(timespec="milliseconds")


def correct(*, ahead_s: float) -> None:
    """Count from now on as if this clock were not that far ahead.

    A clock that somebody sets right meanwhile changes nothing: time then follows the
    monotonic clock.
    """
    _corrected[:] = [(time.time() - ahead_s, time.monotonic())] if ahead_s else []
