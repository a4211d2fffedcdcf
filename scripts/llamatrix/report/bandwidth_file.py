"""`bandwidth.json` beside a host's records: the last stream test of that host class."""

from pathlib import Path

import msgspec

from llamatrix.errors import ReportError
from llamatrix.measure.stream import SCHEMA_VERSION, Bandwidth


def bandwidth_path(reports: Path, host_slug: str) -> Path:
    return reports / "records" / host_slug / "bandwidth.json"


def read_bandwidth(reports: Path, host_slug: str) -> Bandwidth | None:
    """None where none was measured; ReportError with the remedy where it is unreadable."""
    path = bandwidth_path(reports, host_slug)
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Bandwidth)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise ReportError(
            f"{path}: cannot be read: {error}; `invoke compare --bandwidth` measures anew"
        ) from error
    if found.schema_version > SCHEMA_VERSION:
        raise ReportError(f"{path}: written by a newer llamatrix; update this checkout")
    return found


def write_bandwidth(reports: Path, found: Bandwidth) -> Path:
    path = bandwidth_path(reports, found.host.slug)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(msgspec.json.format(msgspec.json.encode(found)) + b"\n")
    except OSError as error:
        raise ReportError(f"{path}: cannot be written: {error.strerror}") from error
    return path
