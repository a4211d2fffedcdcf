"""The time in records: UTC."""

from datetime import UTC, datetime


def utc_now() -> str:
    """Return the time for a record, in ISO 8601 with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
