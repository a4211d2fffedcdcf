"""Which lane measures which unit of work next: pure bookkeeping, linear in both.

A host measures either cells that use all of it, or cells on its cards: side by side where
the cards are known not to disturb each other, else one after the other.
"""

from collections import Counter, deque
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

W = TypeVar("W")

MOST_ATTEMPTS = 3
"""How often a unit is tried before it is given up."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LaneId:
    """One card of a host, or the whole host."""

    host: str
    card: int | None
    site: Hashable
    """The class of what the lane measures on: it does the units of that class."""

    def __str__(self) -> str:
        return self.host if self.card is None else f"{self.host} card {self.card}"


@dataclass(kw_only=True, slots=True)
class Unit(Generic[W]):
    """A piece of work for one lane."""

    site: Hashable
    work: W
    attempts: int = 0


@dataclass(kw_only=True, slots=True)
class Placing(Generic[W]):
    """Units that wait, by class, and lanes that are busy, by host."""

    waiting: dict[Hashable, deque[Unit[W]]] = field(default_factory=dict)
    in_flight: int = 0
    failed: list[Unit[W]] = field(default_factory=list)
    _on_cards: Counter[str] = field(default_factory=Counter)
    _whole: dict[str, Hashable] = field(default_factory=dict)
    """The class of each host as a whole."""
    _shared: set[str] = field(default_factory=set)
    """Hosts whose cards measure side by side."""
    _on_host: set[str] = field(default_factory=set)

    def add_host(self, host: str, *, whole: Hashable, shared: bool) -> None:
        self._whole[host] = whole
        self._shared.discard(host)
        if shared:
            self._shared.add(host)

    def add(self, unit: Unit[W]) -> None:
        self.waiting.setdefault(unit.site, deque()).append(unit)

    def take(self, lane: LaneId) -> Unit[W] | None:
        """Return the lane's next unit; None where it must wait or has none.

        Cells of a whole host come first: else its cards would never be idle together.
        """
        queue = self.waiting.get(lane.site)
        if not queue or lane.host in self._on_host:
            return None
        busy = self._on_cards[lane.host]
        if lane.card is None:
            if busy:
                return None
            self._on_host.add(lane.host)
        else:
            if self.waiting.get(self._whole.get(lane.host)):
                return None
            if busy and lane.host not in self._shared:
                return None
            self._on_cards[lane.host] += 1
        self.in_flight += 1
        return queue.popleft()

    def release(self, lane: LaneId) -> None:
        """The lane's unit is done, lost or given up."""
        self.in_flight -= 1
        if lane.card is None:
            self._on_host.discard(lane.host)
        else:
            self._on_cards[lane.host] -= 1

    def put_back(self, unit: Unit[W], *, blame: bool) -> bool:
        """Queue a unit again; False after too many attempts that it is to blame for."""
        unit.attempts += blame
        if unit.attempts >= MOST_ATTEMPTS:
            self.failed.append(unit)
            return False
        self.add(unit)
        return True

    @property
    def idle(self) -> bool:
        return not self.in_flight and not any(self.waiting.values())

    def without_lane(self, sites: set[Hashable]) -> list[Unit[W]]:
        """Remove and return the units of classes that no lane has any more."""
        lost = [key for key in self.waiting if key not in sites]
        return [unit for key in lost for unit in self.waiting.pop(key)]
