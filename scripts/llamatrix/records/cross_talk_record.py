"""Cross-talk records: one card's speed alone and while the host's others are busy."""

import msgspec

from llamatrix.config.cell import SpeedTest
from llamatrix.records.store import Envelope, RecordKind


class CrossTalkTest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    test: SpeedTest
    alone_tps: tuple[float, ...]
    """Steady mean of each pair's process that ran alone …"""
    beside_tps: tuple[float, ...]
    """… and of the one beside busy cards, in the same order."""
    ratio: float
    """Beside over alone."""
    low: float
    """Of the interval of the ratio at 95 %."""
    high: float


class CrossTalkRecord(Envelope, frozen=True, kw_only=True):
    cell_id: str
    commit: str
    card: int
    """The card that was measured."""
    busy: tuple[int, ...]
    """The cards that computed the same beside it."""
    tests: tuple[CrossTalkTest, ...]

    @property
    def record_id(self) -> str:
        return f"{CROSS_TALK.folder}/{self.cell_id}"


CROSS_TALK = RecordKind(folder="cross-talk", holds=CrossTalkRecord, migrations={})
