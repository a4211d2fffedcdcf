"""The order of a pair's arms is random, and the same again from the same seed."""

import pytest

from llamatrix.stats.pairs import Arm, drawn_order


def test_the_same_seed_draws_the_same_orders_again() -> None:
    orders = [drawn_order(7, pair) for pair in range(1, 13)]
    assert orders == [drawn_order(7, pair) for pair in range(1, 13)]
    assert orders != [drawn_order(8, pair) for pair in range(1, 13)]
    assert all(set(order) == set(Arm) for order in orders)


def test_either_arm_is_first_in_half_of_the_pairs_whatever_the_one_before() -> None:
    first = [[drawn_order(seed, pair)[0] for pair in (1, 2)] for seed in range(2000)]
    for one in (first.count([a, b]) for a in Arm for b in Arm):
        assert one / 2000 == pytest.approx(0.25, abs=0.04)
