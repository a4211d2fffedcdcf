"""What of a plan is done already and what is still to be measured."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from llamatrix.config.cell import Cell, SpeedTest
from llamatrix.engines.outcome import Done
from llamatrix.host import this_host
from llamatrix.provision.build import compiled_by
from llamatrix.records.speed_record import Record
from llamatrix.records.store import Store
from llamatrix.report.speed import result_of


@dataclass(frozen=True, kw_only=True, slots=True)
class Repeat:
    """One fresh process' worth of a cell: the tests it still lacks."""

    number: int
    tests: tuple[SpeedTest, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """A cell of the plan beside what the store knows of it."""

    cell: Cell
    digest: str
    known: frozenset[tuple[int, SpeedTest]]
    """Repeat and test of every record of this digest."""
    failed: int
    """Those among them whose outcome is not a number."""
    failures_kept: int = 0
    """Those among the failed that are not measured again."""
    todo: tuple[Repeat, ...]

    @property
    def done(self) -> int:
        return len(self.known)

    @property
    def missing(self) -> int:
        return sum(len(repeat.tests) for repeat in self.todo)


def look_up(
    cell: Cell, store: Store[Record], *, again: int = 0, retry: bool = False
) -> Item:
    """Compare a cell with its records of the same digest on this class of host.

    `again` asks for that many repeats beyond those that exist; `retry` repeats what
    failed before. Once a cell has its repeats, the sweep's `target_spread` may ask for
    another one.
    """
    digest = cell.digest(host_slug=this_host().slug, compiler=compiled_by(cell))
    latest = _latest(cell, digest, store)
    failed = {
        key for key, record in latest.items() if not isinstance(record.outcome, Done)
    }
    settled = latest.keys() - (failed if retry else set())
    repeats = max([cell.sweep.processes, *(repeat for repeat, _ in latest)])
    todo = _missing(cell.tests, repeats + again, settled)
    if not todo and repeats < cell.sweep.max_processes and _is_unstable(cell, latest):
        todo = (Repeat(number=repeats + 1, tests=cell.tests),)
    return Item(
        cell=cell,
        digest=digest,
        known=frozenset(latest),
        failed=len(failed),
        failures_kept=len(failed & settled),
        todo=todo,
    )


def _is_unstable(cell: Cell, latest: dict[tuple[int, SpeedTest], Record]) -> bool:
    """Whether a test has not reached the target spread that the matrix has now."""
    target = cell.sweep.target_spread
    results = (
        result_of([record for (_, known), record in latest.items() if known == test])
        for test in cell.tests
    )
    return target is not None and any(
        replace(result, target_spread=target).unstable for result in results
    )


def still_missing(
    item: Item, repeat: Repeat, store: Store[Record]
) -> tuple[SpeedTest, ...]:
    """The repeat's tests less those that another harness measured meanwhile."""
    meanwhile = _latest(item.cell, item.digest, store).keys() - item.known
    return tuple(
        test for test in repeat.tests if (repeat.number, test) not in meanwhile
    )


def _latest(
    cell: Cell, digest: str, store: Store[Record]
) -> dict[tuple[int, SpeedTest], Record]:
    """The newest record of each repeat and test under a digest."""
    records = store.read(host_slug=this_host().slug, record_id=cell.id)
    return {
        (record.repeat, record.test): record
        for record in records
        if record.cell.digest == digest
    }


def _missing(
    tests: Sequence[SpeedTest], repeats: int, settled: set[tuple[int, SpeedTest]]
) -> tuple[Repeat, ...]:
    every = (
        Repeat(
            number=number,
            tests=tuple(test for test in tests if (number, test) not in settled),
        )
        for number in range(1, repeats + 1)
    )
    return tuple(repeat for repeat in every if repeat.tests)
