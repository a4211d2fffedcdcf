"""`bench` on a machine that is not quiet: more processes, up to the most allowed."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest
from tests.shipped import shipped_cells

from llamatrix.commands.bench import measure
from llamatrix.commands.pending import speed_status
from llamatrix.config.context import load_context
from llamatrix.measure.disturbances import Load, Mark
from llamatrix.project import Project
from llamatrix.records.speed_record import SPEED, SpeedRecord
from llamatrix.records.store import Store
from llamatrix.report.speed import Result, groups

_TESTS = 4
_PROCESSES = 2
_MOST = 4


@dataclass(kw_only=True)
class PlayedWatch:
    """Reports foreign load during the first `disturbed` processes."""

    disturbed: int
    after_first: Callable[[], None] = lambda: None
    """Called when the first process has ended."""
    seen: int = field(default=0)

    def mark(self) -> Mark:
        return Mark(total_s=0, busy_s=0, stolen_s=0, own_s=0, throttled=0)

    def since(self, begin: Mark) -> Load:
        del begin
        self.seen += 1
        if self.seen == _TESTS:
            self.after_first()
        busy = math.ceil(self.seen / _TESTS) <= self.disturbed
        return Load(foreign_percent=80.0 if busy else 0.0)


def measured(
    project: Project,
    *,
    disturbed: int,
    target_spread: float | None,
    after_first: Callable[[], None] = lambda: None,
) -> tuple[list[SpeedRecord], Result]:
    """Measure one cell; its records and the figures of its first test."""
    cell = shipped_cells("smoke")[0]
    sweep = msgspec.structs.replace(cell.sweep, target_spread=target_spread)
    assert (sweep.processes, sweep.max_processes) == (_PROCESSES, _MOST)
    cell = msgspec.structs.replace(cell, sweep=sweep)
    store = Store(reports=project.reports, kind=SPEED)
    watch = PlayedWatch(disturbed=disturbed, after_first=after_first)
    context = load_context("smoke", project=project)
    measure([speed_status(cell, store)], context, watch=watch)
    assert not speed_status(cell, store).due
    (group,) = groups(store.read_all())
    return list(store.read_all()), next(iter(group.results.values()))


@pytest.fixture(autouse=True)
def _steady_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLAMATRIX_FAKE_BENCH", json.dumps({}))


@pytest.mark.parametrize(
    ("disturbed", "processes", "quiet", "unstable"),
    [(0, 2, 2, False), (1, 3, 2, False), (2, 4, 2, False), (9, 4, 0, True)],
)
def test_disturbed_processes_are_repeated_up_to_the_most_allowed(
    disturbed: int, processes: int, quiet: int, *, unstable: bool, stocked: Project
) -> None:
    records, result = measured(stocked, disturbed=disturbed, target_spread=0.1)
    assert len(records) == processes * _TESTS
    assert (len(result.quiet), result.unstable) == (quiet, unstable)


def test_without_a_target_disturbed_processes_are_kept_and_not_repeated(
    stocked: Project,
) -> None:
    records, result = measured(stocked, disturbed=1, target_spread=None)
    assert len(records) == _PROCESSES * _TESTS
    assert len(result.quiet) == len(result.disturbed) == 1
    assert {record.disturbed for record in records if record.repeat == 1} == {
        "background CPU load 80 % of all cores (limit: 10 %)"
    }


def test_a_spread_beyond_the_target_asks_for_more_processes(
    stocked: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first process is half as fast as the others."""
    slow = tmp_path / "slow"
    slow.touch()
    monkeypatch.setenv("LLAMATRIX_FAKE_BENCH", json.dumps({"slow_while": str(slow)}))
    records, result = measured(
        stocked, disturbed=0, target_spread=0.1, after_first=slow.unlink
    )
    assert len(records) == _MOST * _TESTS
    assert result.unstable
    assert max(result.steady_means) > 1.9 * min(result.steady_means)
