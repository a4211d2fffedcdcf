import math

import pytest

from llamatrix.stats.intervals import Estimate
from llamatrix.stats.verdict import Rule, Verdict, most_severe

RULE = Rule(margin=0.02, alpha=0.05)


def _word(ratio: float, sd_log: float, pairs: int = 5) -> Verdict:
    # half width of five pairs in logs: 1.2417 times the deviation
    return RULE.verdict(Estimate(pairs=pairs, mean_log=math.log(ratio), sd_log=sd_log))


@pytest.mark.parametrize(
    ("ratio", "sd_log", "verdict"),
    [
        (0.97, 0.007, Verdict.SLOWER),
        (0.97, 0.030, Verdict.INCONCLUSIVE),  # beyond the margin, interval reaches 1
        (0.985, 0.007, Verdict.INCONCLUSIVE),  # interval below 1, but not by the margin
        (
            0.99,
            0.005,
            Verdict.SAME,
        ),  # interval below 1, and all of it within the margin
        (1.00, 0.007, Verdict.SAME),
        (1.00, 0.020, Verdict.INCONCLUSIVE),
        (1.03, 0.007, Verdict.FASTER),
        (1.03, 0.030, Verdict.INCONCLUSIVE),
    ],
)
def test_verdict_follows_interval_and_margin(
    ratio: float, sd_log: float, verdict: Verdict
) -> None:
    assert _word(ratio, sd_log) is verdict


def test_loss_of_exactly_the_margin_counts_as_reached() -> None:
    assert _word(98 / 100, 1e-9) is Verdict.SLOWER
    assert _word(100 / 98, 1e-9) is Verdict.FASTER
    assert _word(0.9801, 1e-9) is Verdict.SAME


@pytest.mark.parametrize("ratio", [0.5, 0.97, 0.98, 0.985, 0.999])
@pytest.mark.parametrize("sd_log", [0.0, 0.004, 0.02])
def test_swapping_the_arms_swaps_slower_and_faster(ratio: float, sd_log: float) -> None:
    mirror = {Verdict.SLOWER: Verdict.FASTER}
    verdict = _word(ratio, sd_log)
    assert _word(1 / ratio, sd_log) is mirror.get(verdict, verdict)


@pytest.mark.parametrize("pairs", [1, 2])
def test_fewer_than_three_pairs_are_inconclusive(pairs: int) -> None:
    assert _word(0.5, 1e-9, pairs) is Verdict.INCONCLUSIVE
    assert _word(0.5, 1e-9, 3) is Verdict.SLOWER


@pytest.mark.parametrize(("margin", "alpha"), [(0, 0.05), (1, 0.05), (0.02, 0)])
def test_impossible_rule_is_refused(margin: float, alpha: float) -> None:
    with pytest.raises(ValueError, match="not between 0 and 1"):
        Rule(margin=margin, alpha=alpha)


def test_exit_codes_are_those_of_the_design() -> None:
    assert {verdict: verdict.exit_code for verdict in Verdict} == {
        Verdict.SLOWER: 10,
        Verdict.SAME: 0,
        Verdict.FASTER: 0,
        Verdict.BROKEN: 11,
        Verdict.INCONCLUSIVE: 12,
    }


def test_most_severe_verdict_is_returned() -> None:
    assert most_severe([Verdict.SAME, Verdict.FASTER]) is Verdict.FASTER
    assert (
        most_severe([Verdict.SAME, Verdict.INCONCLUSIVE, Verdict.FASTER])
        is Verdict.INCONCLUSIVE
    )
    assert most_severe([Verdict.SLOWER, Verdict.INCONCLUSIVE]) is Verdict.SLOWER
    assert most_severe([Verdict.SLOWER, Verdict.BROKEN, Verdict.SAME]) is Verdict.BROKEN
    assert most_severe([]) is Verdict.INCONCLUSIVE
