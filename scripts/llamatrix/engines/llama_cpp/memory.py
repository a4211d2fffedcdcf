"""What a process holds in memory, as Linux tells it."""

import re
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")


@dataclass(frozen=True, kw_only=True, slots=True)
class Memory:
    rss_bytes: int
    """The resident set: weights mapped from their file included."""
    peak_rss_bytes: int
    own_bytes: int
    """What no file backs: the cache, buffers, state."""


def memory_of(pid: int, *, proc: Path = _PROC) -> Memory | None:
    """None where the process is gone."""
    try:
        text = (proc / str(pid) / "status").read_text()
    except OSError:
        return None
    sizes = {
        key: int(kib) * 1024
        for key, kib in re.findall(r"^(\w+):\s+(\d+) kB$", text, re.MULTILINE)
    }
    if "VmRSS" not in sizes:  # a zombie holds nothing
        return None
    return Memory(
        rss_bytes=sizes["VmRSS"],
        peak_rss_bytes=sizes["VmHWM"],
        own_bytes=sizes["RssAnon"] + sizes.get("RssShmem", 0),
    )


def available_bytes(*, proc: Path = _PROC) -> int:
    """What programs may still take before the machine swaps or kills."""
    text = (proc / "meminfo").read_text()
    found = re.search(r"^MemAvailable:\s+(\d+) kB$", text, re.MULTILINE)
    if not found:
        raise ValueError(f"{proc / 'meminfo'}: no MemAvailable")
    return int(found[1]) * 1024
