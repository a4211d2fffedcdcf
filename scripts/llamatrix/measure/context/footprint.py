"""What a server holds of the machine's memory, and what others hold beside it."""

from collections.abc import Callable, Sequence

import msgspec

from llamatrix.engines.llama_cpp.running import Serving
from llamatrix.measure.gpu_sample import GpuSample
from llamatrix.measure.steady import disturbances
from llamatrix.measure.telemetry import Telemetry


class Footprint(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Bytes; of all cards together. None where nobody tells."""

    rss_bytes: int
    """On the host, weights mapped from their file included."""
    peak_rss_bytes: int
    """The most since the server was started."""
    host_own_bytes: int
    """On the host, without what a file backs."""
    card_own_bytes: int | None = None
    """On the cards, by the server; None also in containers that hide processes."""
    card_own_peak_bytes: int | None = None
    """The most since the footprint before."""
    card_bytes: int | None = None
    """On the cards, by all, beyond what was held before the server was started."""
    card_peak_bytes: int | None = None
    disturbances: tuple[str, ...] = ()
    """What others did meanwhile; empty for nothing, or nothing seen."""

    @property
    def held_bytes(self) -> int:
        """What the server takes of the memory that decides: the cards', else RAM."""
        card = self.card_own_peak_bytes or self.card_peak_bytes
        return card if card is not None else self.peak_rss_bytes


def footprint(serving: Serving, telemetry: Telemetry) -> Footprint:
    """What is held now, and the most that the samples since the last one show."""
    memory = serving.memory()
    before = {one.index: one.used_bytes or 0 for one in telemetry.gpu_before}

    def beyond(sample: GpuSample) -> int | None:
        used = sample.used_bytes
        return None if used is None else max(used - before.get(sample.index, 0), 0)

    own = _by_card(telemetry.gpu, lambda sample: sample.own_bytes)
    all_ = _by_card(telemetry.gpu, beyond)
    return Footprint(
        rss_bytes=memory.rss_bytes,
        peak_rss_bytes=memory.peak_rss_bytes,
        host_own_bytes=memory.own_bytes,
        card_own_bytes=_sum(own, lambda told: told[-1]),
        card_own_peak_bytes=_sum(own, max),
        card_bytes=_sum(all_, lambda told: told[-1]),
        card_peak_bytes=_sum(all_, max),
        disturbances=disturbances(telemetry, None),
    )


def _by_card(
    samples: Sequence[GpuSample], read: Callable[[GpuSample], int | None]
) -> list[list[int]]:
    cards: dict[int, list[int]] = {}
    for sample in samples:
        if (value := read(sample)) is not None:
            cards.setdefault(sample.index, []).append(value)
    return list(cards.values())


def _sum(cards: list[list[int]], pick: Callable[[list[int]], int]) -> int | None:
    return sum(pick(told) for told in cards) if cards else None
