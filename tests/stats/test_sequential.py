import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
from tests.stats.samples import QUIET, pairs_of, swapped

from llamatrix.errors import ReportError
from llamatrix.stats.intervals import Estimate, estimate
from llamatrix.stats.pairs import LeftOut, Pair, Samples
from llamatrix.stats.sequential import (
    PairedComparison,
    SequentialTest,
    broken_comparison,
    headline,
    holm,
    judge,
    judge_cases,
    judge_cells,
    parse_looks,
    session_estimate,
)
from llamatrix.stats.verdict import Metric, Unit, Verdict

SLOW = tuple(0.95 * math.exp(log) for log in QUIET)
EQUAL = tuple(math.exp(log) for log in QUIET)


def _rates(ratios: tuple[float, ...], **changes: Pair) -> PairedComparison:
    pairs = list(pairs_of(ratios))
    for name, pair in changes.items():
        pairs[int(name[1:]) - 1] = pair
    return judge(pairs, unit=Unit.TOKENS_PER_S)


def test_rate_that_fell_is_slower_and_its_ratio_below_1() -> None:
    found = _rates(SLOW)
    assert found.verdict is Verdict.SLOWER
    assert found.estimate is not None
    assert found.estimate.ratio == pytest.approx(0.95)


@pytest.mark.parametrize("unit", [Unit.SECONDS, Unit.MILLISECONDS])
def test_time_that_rose_is_slower_and_its_ratio_below_1(unit: Unit) -> None:
    longer = judge(pairs_of([1 / (ratio * 0.95) for ratio in SLOW]), unit=unit)
    assert longer.verdict is Verdict.SLOWER
    assert longer.estimate is not None
    assert longer.estimate.ratio == pytest.approx(0.95 * 0.95)
    shorter = judge(pairs_of(tuple(0.8 * ratio for ratio in SLOW)), unit=unit)
    assert shorter.verdict is Verdict.FASTER


@pytest.mark.parametrize("factor", [0.9, 0.975, 0.99, 1.0])
@pytest.mark.parametrize("unit", list(Unit))
def test_swapped_arms_give_inverse_ratio_and_mirrored_verdict(
    factor: float, unit: Unit
) -> None:
    mirror = {Verdict.SLOWER: Verdict.FASTER, Verdict.FASTER: Verdict.SLOWER}
    pairs = pairs_of(tuple(factor * ratio for ratio in EQUAL))
    there, back = judge(pairs, unit=unit), judge(swapped(pairs), unit=unit)
    assert there.estimate is not None
    assert back.estimate is not None
    assert there.interval is not None
    assert back.interval is not None
    assert back.verdict is mirror.get(there.verdict, there.verdict)
    assert back.estimate.ratio == pytest.approx(1 / there.estimate.ratio)
    assert back.interval.low == pytest.approx(1 / there.interval.high)


def test_margin_is_2_percent_for_rates_and_5_for_the_first_token() -> None:
    assert Metric.GENERATION.margin == Metric.PROMPT.margin == 0.02
    assert Metric.FIRST_TOKEN.margin == 0.05
    later = pairs_of(tuple(1.03 * ratio for ratio in EQUAL))
    assert judge(later, unit=Unit.SECONDS).verdict is Verdict.SAME
    assert judge(later, unit=Unit.SECONDS, margin=0.02).verdict is Verdict.SLOWER


@pytest.mark.parametrize("ratio", [1.0, 0.9, 1.1])
def test_pairs_of_the_very_same_ratio_support_no_claim(ratio: float) -> None:
    found = _rates((ratio,) * 5)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert found.interval is None
    assert found.smallest_effect() is None
    assert "the very same ratio" in found.notes[0]


@pytest.mark.parametrize("pairs", [1, 2])
def test_one_or_two_pairs_are_inconclusive_with_a_note(
    pairs: int,
) -> None:
    found = _rates((0.5, 0.51)[:pairs])
    assert found.verdict is Verdict.INCONCLUSIVE
    assert found.notes == (f"complete, undisturbed pairs: {pairs}; a claim needs 3",)
    assert (found.interval is None) == (pairs == 1)
    assert found.smallest_effect() is None


def test_candidate_without_any_value_is_broken() -> None:
    pairs = [replace(pair, candidate=None) for pair in pairs_of(EQUAL)]
    found = judge(pairs, unit=Unit.TOKENS_PER_S)
    assert found.verdict is Verdict.BROKEN
    assert found.estimate is None
    assert "5 of 5 pairs, the candidate in none" in found.notes[0]


def test_baseline_without_values_is_not_broken() -> None:
    pairs = [replace(pair, baseline=None) for pair in pairs_of(EQUAL)]
    assert judge(pairs, unit=Unit.TOKENS_PER_S).verdict is Verdict.INCONCLUSIVE


def test_no_pairs_at_all_are_inconclusive() -> None:
    assert judge([], unit=Unit.TOKENS_PER_S).verdict is Verdict.INCONCLUSIVE


def test_candidate_that_failed_once_is_not_called_same() -> None:
    failed = Pair(number=6, baseline=40.0, candidate=None)
    found = _rates((*EQUAL, 1.0), p6=failed)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "no value in pair 6" in found.notes[0]
    assert found.left_out == (LeftOut(pair=6, reason="the candidate gave no value"),)


def test_candidate_that_failed_once_can_still_be_slower() -> None:
    failed = Pair(number=6, baseline=40.0, candidate=None)
    assert _rates((*SLOW, 1.0), p6=failed).verdict is Verdict.SLOWER


def test_baseline_that_failed_once_keeps_the_verdict() -> None:
    failed = Pair(number=6, baseline=None, candidate=40.0)
    assert _rates((*EQUAL, 1.0), p6=failed).verdict is Verdict.SAME


def test_disturbed_pair_is_left_out_with_its_reason() -> None:
    hot = Pair(number=3, baseline=40.0, candidate=4.0, disturbed="thermal throttling")
    found = _rates((*EQUAL[:2], 1.0, *EQUAL[2:]), p3=hot)
    assert found.verdict is Verdict.SAME
    assert found.used == (1, 2, 4, 5, 6)
    assert found.left_out == (LeftOut(pair=3, reason="disturbed: thermal throttling"),)


def test_disturbed_candidate_without_a_value_is_not_broken() -> None:
    lost = Pair(number=1, baseline=40.0, candidate=None, disturbed="foreign load")
    assert judge([lost], unit=Unit.TOKENS_PER_S).verdict is Verdict.INCONCLUSIVE


def test_foreign_load_from_the_middle_of_a_run_is_no_false_alarm() -> None:
    # a burner starts between the arms of pair 3 and slows everything by a third
    after = (1.001, 0.996)
    found = _rates((*EQUAL[:2], 0.67, *after))
    assert found.verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
def test_pair_with_an_impossible_value_cannot_be_made(value: float) -> None:
    with pytest.raises(ValueError, match="pair 7: candidate: not above 0"):
        Pair(number=7, baseline=40.0, candidate=value)


LOOKS = SequentialTest()


def judged_alone(
    pairs: Sequence[Pair], sequential: SequentialTest
) -> tuple[PairedComparison, int | None]:
    """Return the comparison of one case, and the pairs that its next look needs."""
    samples = {"a": Samples(unit=Unit.TOKENS_PER_S, pairs=tuple(pairs))}
    judgement = judge_cases(samples, sequential=sequential)
    return judgement.cells[0].comparison, judgement.next_pairs["a"]


LOUD = tuple(math.exp(6 * log) for log in (*QUIET, *QUIET, *QUIET))


def test_alpha_is_split_evenly_over_the_planned_looks() -> None:
    assert LOOKS.looks == (5, 8, 12)
    assert LOOKS.alpha_per_look == pytest.approx(0.05 / 3)
    found, _ = judged_alone(pairs_of(LOUD[:5]), LOOKS)
    assert found.rule.alpha == pytest.approx(0.05 / 3)
    assert found.estimate is not None
    wide, plain = found.interval, found.estimate.interval(0.05)
    assert found.level == pytest.approx(1 - 0.05 / 3)
    assert wide is not None
    assert plain is not None
    assert wide.half_width > 1.3 * plain.half_width


def test_change_claimed_before_the_last_look_is_reported_to_be_overstated() -> None:
    ratios = [0.95 * math.exp(log) for log in QUIET]
    found, _ = judged_alone(pairs_of(ratios), LOOKS)
    assert "tends to overstate the change" in found.notes[-1]
    last = SequentialTest(looks=(5,))
    found, _ = judged_alone(pairs_of(ratios), last)
    assert found.notes == ()


def test_first_decision_is_kept_at_later_looks() -> None:
    ratios = [0.95 * math.exp(log) for log in QUIET] + [1.3] * 7
    found, next_pairs = judged_alone(pairs_of(ratios), LOOKS)
    assert found.verdict is Verdict.SLOWER
    assert next_pairs is None
    assert found.used == (1, 2, 3, 4, 5)


@pytest.mark.parametrize(
    ("pairs", "look", "next_pairs"),
    [(3, 0, 5), (5, 1, 8), (7, 1, 8), (8, 2, 12), (12, 3, None), (15, 3, None)],
)
def test_undecided_case_asks_for_the_pairs_of_the_next_look(
    pairs: int, look: int, next_pairs: int | None
) -> None:
    found, wanted = judged_alone(pairs_of(LOUD[:pairs]), LOOKS)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert wanted == next_pairs
    reached = (0, 5, 8, 12)[look]
    assert len(found.used) == (reached or pairs)


def test_verdict_between_looks_is_unchanged() -> None:
    clear = pairs_of([0.5 * math.exp(log) for log in QUIET[:4]])
    found, _ = judged_alone(clear, LOOKS)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert found.notes[-1] == "the first planned look is still to come"


def test_broken_candidate_is_reported_before_the_first_look() -> None:
    pair = Pair(number=1, baseline=40.0, candidate=None)
    found, next_pairs = judged_alone([pair], LOOKS)
    assert found.verdict is Verdict.BROKEN
    assert next_pairs == 5, "one failure is tried again"


def test_disturbed_pair_does_not_count_towards_a_look() -> None:
    pairs = list(pairs_of([0.95 * math.exp(log) for log in (*QUIET, 0.0)]))
    pairs[1] = replace(pairs[1], disturbed="foreign load")
    five, _ = judged_alone(pairs[:5], LOOKS)
    six, _ = judged_alone(pairs, LOOKS)
    assert five.verdict is Verdict.INCONCLUSIVE
    assert six.verdict is Verdict.SLOWER
    assert six.used == (1, 3, 4, 5, 6)


def test_looks_are_parsed_from_comma_separated_text() -> None:
    assert parse_looks("5, 8,12") == SequentialTest()
    assert parse_looks("6").alpha_per_look == 0.05


@pytest.mark.parametrize("text", ["", "5,x", "8,5", "2"])
def test_invalid_looks_are_refused_with_an_example(text: str) -> None:
    with pytest.raises(ReportError, match=r"for example 5,8,12") as caught:
        parse_looks(text)
    assert caught.value.exit_code == 7


@pytest.mark.parametrize("pairs", [(), (2, 5), (5, 5), (8, 5)])
def test_looks_that_do_not_rise_are_refused(pairs: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="must rise"):
        SequentialTest(looks=pairs)


def _cell(ratio: float, *, noise: float = 1.0, alpha: float = 0.05) -> PairedComparison:
    ratios = [ratio * math.exp(noise * log) for log in QUIET]
    return judge(pairs_of(ratios), unit=Unit.TOKENS_PER_S, alpha=alpha)


def test_holm_gives_the_textbook_values_in_the_order_given() -> None:
    assert holm((0.01, 0.04, 0.03, 0.005)) == pytest.approx((0.03, 0.06, 0.06, 0.02))
    assert holm((0.6, 0.7)) == (1.0, 1.0)
    assert holm(()) == ()


def test_weak_change_among_many_cells_does_not_survive_holm() -> None:
    weak = _cell(0.97, noise=2.0)
    assert weak.verdict is Verdict.SLOWER
    assert judge_cells({"a": weak}).verdict is Verdict.SLOWER
    found = judge_cells({"a": weak, **{str(i): _cell(1.0) for i in range(9)}})
    assert found.cells[0].comparison.verdict is Verdict.SLOWER
    assert found.cells[0].verdict is Verdict.INCONCLUSIVE
    assert found.verdict is Verdict.INCONCLUSIVE


def test_clear_change_among_many_cells_survives_holm() -> None:
    found = judge_cells({"a": _cell(0.9), **{str(i): _cell(1.0) for i in range(9)}})
    assert found.verdict is Verdict.SLOWER
    assert [cell.verdict for cell in found.cells[1:]] == [Verdict.SAME] * 9


def test_p_value_at_one_of_three_looks_counts_three_times() -> None:
    once = judge_cells({"a": _cell(0.97)}).cells[0].adjusted_p
    looked = judge_cells({"a": _cell(0.97, alpha=0.05 / 3)}).cells[0].adjusted_p
    assert once is not None
    assert looked == pytest.approx(3 * once)


def test_broken_cell_makes_the_whole_broken() -> None:
    broken = judge(
        [Pair(number=1, baseline=40.0, candidate=None)], unit=Unit.TOKENS_PER_S
    )
    found = judge_cells({"a": broken, "b": _cell(0.9)})
    assert found.verdict is Verdict.BROKEN
    assert found.cells[0].adjusted_p is None


def test_headline_is_the_geometric_mean_of_the_sessions() -> None:
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


def test_single_pair_in_one_session_leaves_the_headline_without_an_interval() -> None:
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


def test_pair_that_lacks_one_metric_has_no_part_in_the_session() -> None:
    whole = pairs_of([math.exp(log) for log in QUIET])
    lacking = (*whole[:4], Pair(number=5, baseline=40.0, candidate=None))
    found = session_estimate([(Unit.TOKENS_PER_S, whole), (Unit.SECONDS, lacking)])
    assert found is not None
    assert found.pairs == 4
    nothing = [(Unit.SECONDS, lacking[4:])]
    assert session_estimate(nothing) is None


EARLY = SequentialTest(looks=(5, 8))
STEADY = tuple(1 + one for one in QUIET)
NOISY = (0.92, 0.98, 0.94, 0.96, 0.945)
"""Alone SLOWER at the first look, with a p value that Holm refuses among many."""


def samples_of(pairs: Mapping[str, Sequence[Pair]]) -> dict[str, Samples]:
    return {
        case: Samples(unit=Unit.TOKENS_PER_S, pairs=tuple(found))
        for case, found in pairs.items()
    }


def judged(
    **ratios: Sequence[float],
) -> tuple[dict[str, Verdict], dict[str, int | None]]:
    return _judged({name: pairs_of(found) for name, found in ratios.items()})


def _judged(
    pairs: dict[str, tuple[Pair, ...]],
) -> tuple[dict[str, Verdict], dict[str, int | None]]:
    found = judge_cases(samples_of(pairs), sequential=EARLY)
    words = {cell.id: cell.verdict for cell in found.cells}
    return words, dict(found.next_pairs)


def failing(count: int, *, disturbed: str = "") -> tuple[Pair, ...]:
    return tuple(
        Pair(number=number, baseline=40.0, candidate=None, disturbed=disturbed)
        for number in range(1, count + 1)
    )


def test_verdict_before_the_first_look_is_inconclusive() -> None:
    words, wanted = judged(a=[0.5, 0.5, 0.5, 0.5])
    assert words == {"a": Verdict.INCONCLUSIVE}
    assert wanted == {"a": 5}


def test_decided_case_gets_no_more_pairs() -> None:
    words, wanted = judged(a=STEADY, b=[0.9 * one for one in STEADY], c=STEADY[:3])
    assert words == {"a": Verdict.SAME, "b": Verdict.SLOWER, "c": Verdict.INCONCLUSIVE}
    assert wanted == {"a": None, "b": None, "c": 5}


def test_change_that_only_holm_refuses_gets_more_pairs() -> None:
    alone, wanted_alone = judged(a=NOISY)
    assert (alone["a"], wanted_alone["a"]) == (Verdict.SLOWER, None)
    others = {f"other{number}": STEADY for number in range(20)}
    words, wanted = judged(a=NOISY, **others)
    assert (words["a"], wanted["a"]) == (Verdict.INCONCLUSIVE, 8)
    more = (*NOISY, 0.94, 0.95, 0.945)
    words, wanted = judged(a=more, **others)
    assert wanted["a"] is None
    assert words["a"] is Verdict.SLOWER


def test_early_claim_note_appears_only_on_a_change_that_survives() -> None:
    pairs = {"a": pairs_of([0.9 * one for one in STEADY]), "b": pairs_of(NOISY)}
    pairs |= {f"other{number}": pairs_of(STEADY) for number in range(20)}
    cells = judge_cases(samples_of(pairs), sequential=EARLY).cells
    notes = {cell.id: " ".join(cell.comparison.notes) for cell in cells}
    assert "claimed after 5 of up to 8 pairs" in notes["a"]
    assert "claimed" not in notes["b"]


def test_pairs_after_the_deciding_look_are_ignored() -> None:
    words, _ = judged(a=(*STEADY, 0.5, 0.5, 0.5))
    assert words == {"a": Verdict.SAME}


def test_undecided_case_after_the_last_look_gets_no_more_pairs() -> None:
    words, wanted = judged(a=[0.8, 1.2, 0.7, 1.3, 1.0, 0.9, 1.1, 1.0])
    assert words == {"a": Verdict.INCONCLUSIVE}
    assert wanted == {"a": None}


def test_one_failure_is_retried_and_two_end_the_case() -> None:
    assert _judged({"a": failing(1)})[1] == {"a": 5}
    words, wanted = _judged({"a": failing(2)})
    assert words == {"a": Verdict.BROKEN}
    assert wanted == {"a": None}


def test_disturbed_failures_are_not_broken() -> None:
    words, wanted = _judged({"a": failing(4, disturbed="a burner")})
    assert words == {"a": Verdict.INCONCLUSIVE}
    assert wanted == {"a": 5}


def test_baseline_that_never_works_ends_the_case_without_a_claim() -> None:
    pairs = tuple(Pair(number=n, baseline=None, candidate=40.0) for n in (1, 2))
    words, wanted = _judged({"a": pairs})
    assert words == {"a": Verdict.INCONCLUSIVE}
    assert wanted == {"a": None}


def test_candidate_that_cannot_start_is_broken_without_pairs() -> None:
    found = broken_comparison(
        "it does not build", unit=Unit.TOKENS_PER_S, margin=0.02, alpha=0.05 / 3
    )
    assert found.verdict is Verdict.BROKEN
    assert found.notes == ("it does not build",)


def test_settled_case_keeps_its_verdict_whatever_others_do_later() -> None:
    settled = tuple(0.95 * math.exp(3.9 * log) for log in QUIET)
    other = tuple(0.985 * math.exp(0.95 * log) for log in QUIET)
    words, wanted = judged(a=settled, b=other)
    assert (words["a"], wanted) == (Verdict.SLOWER, {"a": None, "b": 8})
    words, wanted = judged(a=settled, b=(*other, 1.01, 1.006, 0.985))
    assert (words["a"], wanted["a"]) == (Verdict.SLOWER, None)
