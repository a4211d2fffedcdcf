"""Which lane measures which unit of work next: pure bookkeeping, linear in both.

A host measures either cells that use all of it, or cells on its cards: side by side where
the cards are known not to disturb each other, else one after the other.
"""

from collections import Counter, deque
from collections.abc import Collection, Hashable, Iterator
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

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


class Placeable(Protocol):
    """A piece of work for one lane."""

    attempts: int

    @property
    def site(self) -> Hashable: ...


U = TypeVar("U", bound=Placeable)


@dataclass(kw_only=True, slots=True)
class Placing(Generic[U]):
    """Units that wait, by class, and lanes that are busy, by host."""

    waiting: dict[Hashable, deque[U]] = field(default_factory=dict)
    in_flight: int = 0
    failed: list[U] = field(default_factory=list)
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

    def drop_whole(self, host: str) -> None:
        """The host measures on its cards only: nothing measures on all of it any more."""
        self._whole.pop(host, None)

    def add(self, unit: U) -> None:
        self.waiting.setdefault(unit.site, deque()).append(unit)

    def allows(self, lane: LaneId) -> bool:
        """Whether there is a unit that the lane may measure now.

        Cells of a whole host come first: else its cards would never be idle together.
        """
        if not self.waiting.get(lane.site) or lane.host in self._on_host:
            return False
        busy = self._on_cards[lane.host]
        if lane.card is None:
            return not busy
        if self.waiting.get(self._whole.get(lane.host)):
            return False
        return not busy or lane.host in self._shared

    def take(self, lane: LaneId) -> U | None:
        """Return the lane's next unit; None where it must wait or has none."""
        if not self.allows(lane):
            return None
        if lane.card is None:
            self._on_host.add(lane.host)
        else:
            self._on_cards[lane.host] += 1
        self.in_flight += 1
        return self.waiting[lane.site].popleft()

    def release(self, lane: LaneId) -> None:
        """The lane's unit is done, lost or given up."""
        self.in_flight -= 1
        if lane.card is None:
            self._on_host.discard(lane.host)
        else:
            self._on_cards[lane.host] -= 1

    def put_back(self, unit: U) -> None:
        """Queue a unit again; give it up after too many attempts."""
        unit.attempts += 1
        if unit.attempts < MOST_ATTEMPTS:
            self.add(unit)
        else:
            self.failed.append(unit)

    def is_idle(self, sites: Collection[Hashable]) -> bool:
        """Whether nothing is in flight, and nothing waits that lanes of these could do."""
        return not self.in_flight and not any(map(self.waiting.get, sites))

    def unmeasured(self) -> Iterator[U]:
        """Yield the units that were given up, and those that no lane was left for."""
        yield from self.failed
        for queue in self.waiting.values():
            yield from queue
