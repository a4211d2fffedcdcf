import math

import pytest
from tests.stats.samples import QUIET, pairs_of

from llamatrix.stats.cells import headline, holm, judge_cells, session_estimate
from llamatrix.stats.estimate import Estimate, estimate
from llamatrix.stats.judge import Comparison, judge
from llamatrix.stats.metric import Unit
from llamatrix.stats.pairs import Pair
from llamatrix.stats.word import Word


def _cell(ratio: float, *, noise: float = 1.0, alpha: float = 0.05) -> Comparison:
    ratios = [ratio * math.exp(noise * log) for log in QUIET]
    return judge(pairs_of(ratios), unit=Unit.TOKENS_PER_S, alpha=alpha)


def test_holm_gives_the_textbook_values_in_the_order_given() -> None:
    assert holm((0.01, 0.04, 0.03, 0.005)) == pytest.approx((0.03, 0.06, 0.06, 0.02))
    assert holm((0.6, 0.7)) == (1.0, 1.0)
    assert holm(()) == ()


def test_a_weak_change_among_many_cells_does_not_survive_holm() -> None:
    weak = _cell(0.97, noise=2.0)
    assert weak.word is Word.SLOWER
    assert judge_cells({"a": weak}).word is Word.SLOWER
    found = judge_cells({"a": weak, **{str(i): _cell(1.0) for i in range(9)}})
    assert found.cells[0].comparison.word is Word.SLOWER
    assert found.cells[0].word is Word.INCONCLUSIVE
    assert found.word is Word.INCONCLUSIVE


def test_a_clear_change_among_many_cells_survives_holm() -> None:
    found = judge_cells({"a": _cell(0.9), **{str(i): _cell(1.0) for i in range(9)}})
    assert found.word is Word.SLOWER
    assert [cell.word for cell in found.cells[1:]] == [Word.SAME] * 9


def test_a_p_value_at_one_of_three_looks_counts_three_times() -> None:
    once = judge_cells({"a": _cell(0.97)}).cells[0].adjusted_p
    looked = judge_cells({"a": _cell(0.97, alpha=0.05 / 3)}).cells[0].adjusted_p
    assert once is not None
    assert looked == pytest.approx(3 * once)


def test_a_broken_cell_makes_the_whole_broken() -> None:
    broken = judge(
        [Pair(number=1, baseline=40.0, candidate=None)], unit=Unit.TOKENS_PER_S
    )
    found = judge_cells({"a": broken, "b": _cell(0.9)})
    assert found.word is Word.BROKEN
    assert found.cells[0].adjusted_p is None


def test_the_headline_is_the_geometric_mean_of_the_sessions() -> None:
    found = headline(
        [estimate([math.log(ratio) + log for log in QUIET]) for ratio in (0.5, 2.0)],
        alpha=0.05,
    )
    assert found.ratio == pytest.approx(1.0)
    assert found.interval is not None
    assert found.sessions == 2


def test_equal_cells_pool_their_degrees_of_freedom() -> None:
    # two cells of five pairs: error / sqrt(2), t at 8 degrees of freedom is 2.306004
    one = Estimate(pairs=5, mean_log=0.0, sd_log=0.01)
    interval = headline([one, one], alpha=0.05).interval
    assert interval is not None
    half = 2.306004 * 0.01 / math.sqrt(5) / math.sqrt(2)
    assert math.log(interval.high) == pytest.approx(half, rel=1e-6)


def test_a_single_pair_in_one_session_leaves_the_headline_without_an_interval() -> None:
    found = headline([estimate((0.1,)), estimate((0.1, 0.2))], alpha=0.05)
    assert found.interval is None


def test_metrics_of_the_same_processes_are_averaged_within_each_pair() -> None:
    # what one metric gains in a pair the other loses: their mean does not vary at all
    up = pairs_of([math.exp(log) for log in QUIET])
    down = pairs_of([math.exp(-log) for log in QUIET])
    found = session_estimate([(Unit.TOKENS_PER_S, up), (Unit.TOKENS_PER_S, down)])
    assert found is not None
    assert (found.pairs, found.sd_log) == (5, 0.0)
    twice = session_estimate([(Unit.TOKENS_PER_S, up), (Unit.TOKENS_PER_S, up)])
    assert twice == session_estimate([(Unit.TOKENS_PER_S, up)])


def test_a_pair_that_lacks_one_metric_has_no_part_in_the_session() -> None:
    whole = pairs_of([math.exp(log) for log in QUIET])
    lacking = (*whole[:4], Pair(number=5, baseline=40.0, candidate=None))
    found = session_estimate([(Unit.TOKENS_PER_S, whole), (Unit.SECONDS, lacking)])
    assert found is not None
    assert found.pairs == 4
    nothing = [(Unit.SECONDS, lacking[4:])]
    assert session_estimate(nothing) is None
