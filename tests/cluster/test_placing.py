"""Which lane gets which unit, and what it costs to decide."""

import sys
from collections import Counter
from dataclasses import dataclass

import pytest

from llamatrix.cluster.placing import MOST_ATTEMPTS, LaneId, Placing

CARD, WHOLE = "card", "whole"


@dataclass(kw_only=True)
class Unit:
    site: str
    work: int
    attempts: int = 0


def lanes(host: str, cards: int) -> list[LaneId]:
    numbers = [None, *range(cards)]
    return [
        LaneId(host=host, card=card, site=WHOLE if card is None else CARD)
        for card in numbers
    ]


def placing(*units: str, shared: bool) -> Placing[Unit]:
    made: Placing[Unit] = Placing()
    made.add_host("box", whole=WHOLE, shared=shared)
    for number, site in enumerate(units):
        made.add(Unit(site=site, work=number))
    return made


@pytest.mark.parametrize(("shared", "at_once"), [(True, 2), (False, 1)])
def test_cards_of_a_host_measure_side_by_side_only_where_that_is_harmless(
    *, shared: bool, at_once: int
) -> None:
    made = placing(CARD, CARD, CARD, shared=shared)
    _, *cards = lanes("box", 2)
    assert sum(made.take(lane) is not None for lane in cards) == at_once


def test_a_cell_of_the_whole_host_runs_alone_and_before_those_of_its_cards() -> None:
    made = placing(CARD, WHOLE, CARD, shared=True)
    host, first, second = lanes("box", 2)
    assert made.take(first) is None
    assert made.take(host) is not None
    assert made.take(first) is None
    made.release(host)
    assert made.take(first) is not None
    made.add(Unit(site=WHOLE, work=9))
    assert made.take(host) is None
    assert made.take(second) is None, "the host is left to empty"
    made.release(first)
    assert made.take(host) is not None


def test_cards_go_on_where_nothing_measures_on_the_whole_host_any_more() -> None:
    made = placing(CARD, WHOLE, shared=True)
    _, card, _ = lanes("box", 2)
    assert made.take(card) is None
    made.drop_whole("box")
    assert made.take(card) is not None
    made.release(card)
    assert not made.is_idle({CARD, WHOLE})
    assert made.is_idle({CARD}), "what waits for lanes that are gone is not waited for"
    assert [unit.site for unit in made.unmeasured()] == [WHOLE]


def test_a_unit_is_given_up_after_its_attempts() -> None:
    made = placing(CARD, shared=False)
    card = lanes("box", 1)[1]
    for _ in range(MOST_ATTEMPTS):
        unit = made.take(card)
        assert unit
        made.release(card)
        made.put_back(unit)
    assert made.take(card) is None
    assert [unit.work for unit in made.unmeasured()] == [0]


def decided(units: int, hosts: int) -> int:
    """Play a whole run; return how many lines of `placing.py` were executed."""
    made: Placing[Unit] = Placing()
    every = [lane for host in range(hosts) for lane in lanes(f"box{host}", 2)]
    for host in range(hosts):
        made.add_host(f"box{host}", whole=WHOLE, shared=True)
    for number in range(units):
        made.add(Unit(site=CARD, work=number))
    done: Counter[int] = Counter()
    lines = 0

    def count(frame: object, event: str, _: object) -> object:
        nonlocal lines
        lines += event == "line"
        return count if "placing" in str(frame) else None

    sys.settrace(count)  # type: ignore[arg-type]
    try:
        while not made.is_idle({CARD, WHOLE}):
            taken = [(lane, made.take(lane)) for lane in every]
            for lane, unit in taken:
                if unit:
                    done[unit.work] += 1
                    made.release(lane)
    finally:
        sys.settrace(None)
    assert set(done.values()) == {1}
    assert len(done) == units
    return lines


def test_the_work_of_placing_grows_with_the_cells_and_not_with_cells_times_hosts() -> (
    None
):
    few, many = decided(400, 40), decided(4000, 400)
    assert many < 12 * few
