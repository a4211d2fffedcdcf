"""What each GPU did at one moment, and whose memory it held."""

import os
from contextlib import ExitStack
from types import ModuleType

import msgspec

from llamatrix.nvml import Card, OnCard, open_cards


class GpuSample(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """None where the card does not tell."""

    at_s: float
    """Seconds since the sampler was started."""
    index: int = 0
    """Which card."""
    sm_mhz: int | None = None
    memory_mhz: int | None = None
    power_w: float | None = None
    energy_mj: int | None = None
    """Since the driver was loaded: only differences mean something."""
    celsius: int | None = None
    throttle: tuple[str, ...] | None = None
    """Why the clocks are not higher, by nvidia-smi's names; empty for no reason."""
    used_bytes: int | None = None
    """Of the card's memory, by all, the driver included."""
    own_bytes: int | None = None
    """By the measured program; None also where processes were not looked at."""
    others: int | None = None
    """How many processes of others are on the card; None where not looked at."""
    other_bytes: int | None = None


class GpuProbe:
    """Reads all cards. Processes there are ours, or of others.

    Ours descend from this process. One that the machine's process table does not show
    (a container sees other numbers than the driver) is another's where it was on the
    card before, and else taken as ours.
    """

    def __init__(self, library: ModuleType | None) -> None:
        self._held = ExitStack()
        self._cards = self._held.enter_context(open_cards(library))
        self._ours: dict[int, bool] = {}
        """What was found out of each process id."""
        self._present = {
            process.pid for card in self._cards for process in card.processes or ()
        }

    @property
    def count(self) -> int:
        return len(self._cards)

    def close(self) -> None:
        self._held.close()
        self._cards = ()

    def read(self, at_s: float, *, processes: bool) -> tuple[GpuSample, ...]:
        """One sample of each card; who is on it is dearer to ask than the rest."""
        return tuple(
            self._sample(card, at_s, card.processes if processes else None)
            for card in self._cards
        )

    def _sample(
        self, card: Card, at_s: float, found: tuple[OnCard, ...] | None
    ) -> GpuSample:
        ours = [one for one in found or () if self._is_ours(one.pid)]
        others = [one for one in found or () if not self._is_ours(one.pid)]
        return GpuSample(
            at_s=at_s,
            index=card.index,
            sm_mhz=card.sm_mhz,
            memory_mhz=card.memory_mhz,
            power_w=card.power_w,
            energy_mj=card.energy_mj,
            celsius=card.celsius,
            throttle=card.throttle_reasons,
            used_bytes=card.used_bytes,
            own_bytes=_sum(ours),
            others=None if found is None else len(others),
            other_bytes=_sum(others),
        )

    def _is_ours(self, pid: int) -> bool:
        if pid not in self._ours:
            self._ours[pid] = self._find_out(pid)
        return self._ours[pid]

    def _find_out(self, pid: int) -> bool:
        import psutil

        try:
            line = {one.pid for one in psutil.Process(pid).parents()} | {pid}
        except psutil.Error:
            return pid not in self._present
        return os.getpid() in line


def _sum(processes: list[OnCard]) -> int | None:
    told = [one.used_bytes for one in processes if one.used_bytes is not None]
    return sum(told) if told else None
