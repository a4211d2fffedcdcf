import math

import pytest

from llamatrix.stats.estimate import Estimate
from llamatrix.stats.rule import Rule
from llamatrix.stats.word import Word, gravest

RULE = Rule(margin=0.02, alpha=0.05)


def _word(ratio: float, sd_log: float, pairs: int = 5) -> Word:
    # half width of five pairs in logs: 1.2417 times the deviation
    return RULE.word(Estimate(pairs=pairs, mean_log=math.log(ratio), sd_log=sd_log))


@pytest.mark.parametrize(
    ("ratio", "sd_log", "word"),
    [
        (0.97, 0.007, Word.SLOWER),
        (0.97, 0.030, Word.INCONCLUSIVE),  # beyond the margin, interval reaches 1
        (0.985, 0.007, Word.INCONCLUSIVE),  # interval below 1, but not by the margin
        (0.99, 0.005, Word.SAME),  # interval below 1, and all of it within the margin
        (1.00, 0.007, Word.SAME),
        (1.00, 0.020, Word.INCONCLUSIVE),
        (1.03, 0.007, Word.FASTER),
        (1.03, 0.030, Word.INCONCLUSIVE),
    ],
)
def test_the_word_follows_interval_and_margin(
    ratio: float, sd_log: float, word: Word
) -> None:
    assert _word(ratio, sd_log) is word


def test_a_loss_of_exactly_the_margin_counts_as_reached() -> None:
    assert _word(98 / 100, 1e-9) is Word.SLOWER
    assert _word(100 / 98, 1e-9) is Word.FASTER
    assert _word(0.9801, 1e-9) is Word.SAME


@pytest.mark.parametrize("ratio", [0.5, 0.97, 0.98, 0.985, 0.999])
@pytest.mark.parametrize("sd_log", [0.0, 0.004, 0.02])
def test_swapping_the_arms_swaps_slower_and_faster(ratio: float, sd_log: float) -> None:
    mirror = {Word.SLOWER: Word.FASTER}
    word = _word(ratio, sd_log)
    assert _word(1 / ratio, sd_log) is mirror.get(word, word)


@pytest.mark.parametrize("pairs", [1, 2])
def test_fewer_than_three_pairs_say_nothing(pairs: int) -> None:
    assert _word(0.5, 1e-9, pairs) is Word.INCONCLUSIVE
    assert _word(0.5, 1e-9, 3) is Word.SLOWER


@pytest.mark.parametrize(("margin", "alpha"), [(0, 0.05), (1, 0.05), (0.02, 0)])
def test_an_impossible_rule_is_refused(margin: float, alpha: float) -> None:
    with pytest.raises(ValueError, match="not between 0 and 1"):
        Rule(margin=margin, alpha=alpha)


def test_exit_codes_are_those_of_the_design() -> None:
    assert {word: word.exit_code for word in Word} == {
        Word.SLOWER: 10,
        Word.SAME: 0,
        Word.FASTER: 0,
        Word.BROKEN: 11,
        Word.INCONCLUSIVE: 12,
    }


def test_the_gravest_word_speaks_for_many() -> None:
    assert gravest([Word.SAME, Word.FASTER]) is Word.FASTER
    assert gravest([Word.SAME, Word.INCONCLUSIVE, Word.FASTER]) is Word.INCONCLUSIVE
    assert gravest([Word.SLOWER, Word.INCONCLUSIVE]) is Word.SLOWER
    assert gravest([Word.SLOWER, Word.BROKEN, Word.SAME]) is Word.BROKEN
    assert gravest([]) is Word.INCONCLUSIVE
