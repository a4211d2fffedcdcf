import pytest

from llamatrix.stats.distributions import median_ranks


@pytest.mark.parametrize(
    ("count", "ranks"),
    [(5, None), (6, (0, 5)), (9, (1, 7)), (20, (5, 14)), (100, (39, 60))],
)
def test_the_places_around_a_median_are_those_of_the_sign_test(
    count: int, ranks: tuple[int, int] | None
) -> None:
    """As tables of order statistics have them, counted from 0."""
    assert median_ranks(count) == ranks
