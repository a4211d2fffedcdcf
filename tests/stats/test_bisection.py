"""The search finds the first bad commit of any range, and says what it could not try."""

from collections.abc import Collection
from itertools import combinations

import pytest

from llamatrix.stats.bisection import (
    ENOUGH_SKIPPED,
    Mark,
    Search,
    mark_of,
    simulate_search,
)
from llamatrix.stats.verdict import Verdict


def searched(last: int, first_bad: int, untestable: Collection[int] = ()) -> Search:
    """Run a search over a range whose answer is known."""
    search = Search(last=last)
    while (position := search.next_position()) is not None:
        assert position not in search.marks
        mark = Mark.BAD if position >= first_bad else Mark.GOOD
        search = search.marked(
            position, Mark.SKIPPED if position in untestable else mark
        )
    return search


def test_first_bad_commit_is_found_within_the_stated_steps() -> None:
    for last in range(1, 70):
        most = Search(last=last).most_left
        for first_bad in range(1, last + 1):
            search = searched(last, first_bad)
            assert list(search.culprits) == [first_bad]
            assert len(search.marks) <= most
    assert Search(last=31).most_left == 6


def test_only_untestable_commits_remain_in_the_range() -> None:
    for last in range(1, 9):
        inner = range(1, last)
        for count in range(last):
            for untestable in combinations(inner, count):
                for first_bad in range(1, last + 1):
                    search = searched(last, first_bad, untestable)
                    culprits = search.culprits
                    assert first_bad in culprits
                    assert set(culprits[:-1]) <= set(untestable)


def test_search_passes_a_long_run_of_unbuildable_commits_quickly() -> None:
    broken = range(300, 700)
    search = searched(1000, 900, broken)
    assert list(search.culprits) == [900]
    assert len(search.marks) <= Search(last=1000).most_left + 10


def test_range_without_buildable_commits_is_the_result() -> None:
    search = searched(8, 5, range(1, 8))
    assert list(search.culprits) == list(range(1, 9))


@pytest.mark.parametrize("mark", [Mark.GOOD, Mark.SKIPPED])
def test_bad_end_that_is_good_ends_the_search(mark: Mark) -> None:
    search = Search(last=31).marked(31, mark)
    assert search.next_position() is None


def test_running_commit_is_good_in_a_search_for_a_failure() -> None:
    assert mark_of(Verdict.INCONCLUSIVE, searched=Verdict.BROKEN) is Mark.GOOD
    assert mark_of(Verdict.SLOWER, searched=Verdict.BROKEN) is Mark.GOOD
    assert mark_of(Verdict.BROKEN, searched=Verdict.BROKEN) is Mark.BAD


def test_commit_without_any_run_is_skipped_in_a_search_for_a_failure() -> None:
    mark = mark_of(Verdict.INCONCLUSIVE, searched=Verdict.BROKEN, ran=False)
    assert mark is Mark.SKIPPED


def test_broken_commit_is_skipped_in_a_search_for_a_slowdown() -> None:
    assert mark_of(Verdict.BROKEN, searched=Verdict.SLOWER) is Mark.SKIPPED
    assert mark_of(Verdict.INCONCLUSIVE, searched=Verdict.SLOWER) is Mark.SKIPPED
    assert mark_of(Verdict.FASTER, searched=Verdict.SLOWER) is Mark.GOOD
    assert mark_of(Verdict.SLOWER, searched=Verdict.SLOWER) is Mark.BAD


def test_loss_of_ten_percent_is_found_in_two_percent_noise_with_six_builds() -> None:
    for seed in range(20):
        slow = seed + 1
        end, search = simulate_search(
            commits=32, slow=slow, loss=0.1, noise=0.02, seed=seed
        )
        assert end is Verdict.SLOWER
        assert list(search.culprits) == [slow]
        assert len(search.marks) <= 6


def test_range_without_slow_commit_has_the_same_verdict() -> None:
    ends = [
        simulate_search(commits=32, slow=None, loss=0.1, noise=0.02, seed=seed)[0]
        for seed in range(20)
    ]
    assert ends.count(Verdict.SAME) >= 19


def test_long_unbuildable_range_ends_early() -> None:
    search = searched(1000, 500, range(1, 1000))
    assert list(search.culprits) == list(range(1, 1001))
    assert len(search.marks) == ENOUGH_SKIPPED + 1
