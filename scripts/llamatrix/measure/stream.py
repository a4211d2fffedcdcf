"""Memory bandwidth by STREAM's triad, `a = b + s × c`, for the roofline of a CPU.

McCalpin, "Memory Bandwidth and Machine Balance in Current High Performance Computers"
(1995). Bytes are counted as there: two reads and one write per element. Where a write
also costs a read, a loop that only reads can be up to a third faster.
"""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import msgspec

from llamatrix import __version__
from llamatrix.clock import utc_now
from llamatrix.host import Host

SCHEMA_VERSION = 1
_ELEMENT_BYTES = 8
_TOUCHED = 3
_BLOCK = 32768
"""Elements at a time, so that the product stays in the cache."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StreamBounds:
    """Limits of a measurement."""

    array_bytes: int = 256 * 2**20
    """Of each array, over all threads: several times the size of any cache."""
    seconds: float = 3.0
    """No pass starts after this time, except the first two."""


class Bandwidth(msgspec.Struct, frozen=True, kw_only=True):
    """`bandwidth.json` of a host class."""

    schema_version: int
    kernel: str
    host: Host
    measured_at: str
    """UTC, ISO 8601."""
    threads: int
    array_bytes: int
    pass_bytes: int
    """Bytes read and written per pass."""
    passes_s: tuple[float, ...]
    made_by: str

    @property
    def best(self) -> float:
        """Bytes per second of the fastest pass: a limit must not be too low."""
        return self.pass_bytes / min(self.passes_s)


def measure_bandwidth(host: Host, bounds: StreamBounds | None = None) -> Bandwidth:
    """Run the triad on all physical cores; the warm-up pass is discarded."""
    chosen = bounds or StreamBounds()
    memory_share = host.memory_bytes // 8 // _TOUCHED
    array_bytes = min(chosen.array_bytes, memory_share)
    elements = array_bytes // _ELEMENT_BYTES // host.physical_cores
    lanes = [_Lane(elements) for _ in range(host.physical_cores)]
    passes: list[float] = []
    begin = time.monotonic()
    with ThreadPoolExecutor(max_workers=len(lanes)) as pool:
        list(pool.map(_Lane.run, lanes))
        while len(passes) < 2 or time.monotonic() - begin < chosen.seconds:  # noqa: PLR2004
            started = time.perf_counter()
            list(pool.map(_Lane.run, lanes))
            passes.append(time.perf_counter() - started)
    return Bandwidth(
        schema_version=SCHEMA_VERSION,
        kernel="triad",
        host=host,
        measured_at=utc_now(),
        threads=len(lanes),
        array_bytes=elements * len(lanes) * _ELEMENT_BYTES,
        pass_bytes=elements * len(lanes) * _ELEMENT_BYTES * _TOUCHED,
        passes_s=tuple(passes),
        made_by=f"llamatrix {__version__}",
    )


class _Lane:
    """One thread's share of the arrays."""

    def __init__(self, elements: int) -> None:
        import numpy as np

        self.a = np.zeros(elements)
        self.b = np.full(elements, 2.0)
        self.c = np.full(elements, 0.5)
        self._product = np.empty(min(_BLOCK, elements))

    def run(self) -> None:
        import numpy as np

        for start in range(0, len(self.a), _BLOCK):
            block = slice(start, start + _BLOCK)
            product = self._product[: len(self.c[block])]
            np.multiply(self.c[block], 3.0, out=product)
            np.add(self.b[block], product, out=self.a[block])
