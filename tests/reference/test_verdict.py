"""What may be said of ours beside theirs: a ratio, a band, a verdict, all differences."""

import dataclasses
import math
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.reference.synthetic_sets import CLEAN, changed, loaded
from tests.reference.test_reference_set import claims as shipped_claims
from tests.reference.test_reference_set import shipped

from llamatrix.reference.audit import audit
from llamatrix.reference.compare import compare, compare_one, kendall_tau, model_ratios
from llamatrix.reference.conditions import Conditions
from llamatrix.reference.gpu import load_gpus
from llamatrix.reference.quantity import Quantity
from llamatrix.reference.reference_set import Claim
from llamatrix.reference.verdict import (
    Comparison,
    ComparisonVerdict,
    OurNumber,
    differences,
    significant_after_holm,
)
from llamatrix.report.set_comparison import factor_text

TG = "generation/qwen35-27b/tg128"


@pytest.fixture
def published(tmp_path: Path) -> dict[str, Claim]:
    return {claim.id: claim for claim in loaded(CLEAN, tmp_path).claims()}


def ours(
    claim: Claim,
    *values: float,
    interval: tuple[float, float] | None = None,
    **said: Any,  # noqa: ANN401  (any of the conditions)
) -> OurNumber:
    """Measured under the published conditions but for what is said."""
    return OurNumber(
        claim=claim.id,
        values=values,
        interval=interval,
        conditions=msgspec.structs.replace(claim.conditions, **said),
        records=("digest",),
    )


def test_a_ratio_inside_the_band_is_reproduced(published: dict[str, Claim]) -> None:
    claim = published[TG]
    found = compare_one(claim, ours(claim, 43.0, 44.0, interval=(43.0, 44.0)))
    assert found.verdict is ComparisonVerdict.REPRODUCED
    assert found.ratio == pytest.approx(43.5 / 45.88)
    assert found.interval == pytest.approx((43.0 / 45.88, 44.0 / 45.88))
    assert found.band == pytest.approx((0.9, 1.1), abs=1e-3)
    assert found.firm
    assert found.records == ("digest",)


def test_a_ratio_outside_the_band_differs_and_says_how_firmly(
    published: dict[str, Claim],
) -> None:
    claim = published[TG]
    far = compare_one(claim, ours(claim, 30.0, interval=(29.0, 31.0)))
    near = compare_one(claim, ours(claim, 41.0, interval=(38.0, 44.0)))
    assert (far.verdict, far.firm) == (ComparisonVerdict.DIFFERS, True)
    assert (near.verdict, near.firm) == (ComparisonVerdict.DIFFERS, False)


def test_the_printed_rounding_widens_the_band(published: dict[str, Claim]) -> None:
    claim = published["summary/qwen35-27b/generation-rate"]  # ~45
    found = compare_one(claim, ours(claim, 50.0))
    assert found.verdict is ComparisonVerdict.REPRODUCED
    assert found.band == pytest.approx((0.9 * 44 / 45, 1.1 * 46 / 45))


def test_a_tolerance_can_be_asked_for(published: dict[str, Claim]) -> None:
    claim = published[TG]
    number = ours(claim, 44.0)
    assert (
        compare_one(claim, number, tolerance=0.01).verdict is ComparisonVerdict.DIFFERS
    )
    assert compare_one(claim, number).verdict is ComparisonVerdict.REPRODUCED


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"gpu": "rtx-3090"}, "gpu: ours rtx-3090, theirs rtx-4090"),
        ({"quant": "Q8_0"}, "quant: ours Q8_0, theirs Q4_K_XL"),
        ({"ubatch_size": 256}, "ubatch_size: ours 256, theirs 512"),
        ({"gen_tokens": 64}, "gen_tokens: ours 64, theirs 128"),
    ],
)
def test_another_subject_or_class_is_not_comparable(
    said: dict[str, Any], reason: str, published: dict[str, Claim]
) -> None:
    claim = published[TG]
    found = compare_one(claim, ours(claim, 45.88, **said))
    assert (found.verdict, found.reason) == (ComparisonVerdict.NOT_COMPARABLE, reason)
    assert found.ratio == pytest.approx(1.0)


def test_lesser_differences_and_silences_are_listed_but_do_not_forbid(
    published: dict[str, Claim],
) -> None:
    claim = published[TG]
    number = ours(claim, 45.0, driver="580.1", cache_type_k="q8_0", power_cap_w=350.0)
    found = compare_one(claim, number)
    assert found.verdict is ComparisonVerdict.REPRODUCED
    assert {one.condition: (one.ours, one.theirs) for one in found.differences} == {
        "driver": ("580.1", None),
        "cache_type_k": ("q8_0", None),
        "power_cap_w": (350.0, None),
    }


def test_a_number_that_was_not_measured_is_not_comparable(
    published: dict[str, Claim],
) -> None:
    (found,) = compare([published[TG]], {})
    assert (found.verdict, found.reason) == (
        ComparisonVerdict.NOT_COMPARABLE,
        "not measured by us",
    )


def test_a_proxy_and_an_extreme_are_not_comparable() -> None:
    claim = shipped_claims("khmel-2026-06-07")["generation/qwen36-27b/rtx-4090"]
    found = compare_one(claim, ours(claim, 47.0))
    assert found.reason == "published for qwen36-27b, a proxy for qwen35-27b"
    claim = shipped_claims("calebcoffie-rtx3090")["generation/gemma4-31b/lowest"]
    found = compare_one(claim, ours(claim, 15.2))
    assert found.reason == "the published figure is the lowest of several conditions"


def test_a_number_held_against_a_misprint_is_not_comparable() -> None:
    blog = shipped("blog-2026-04-05")
    findings = audit(blog, load_gpus())
    by_id = {claim.id: claim for claim in blog.claims()}

    def compared(name: str, *values: float) -> Comparison:
        claim = by_id[f"agent/gemma4-26b-a4b/p2/{name}"]
        return compare_one(claim, ours(claim, *values), findings=findings)

    suspect = compared("generation-time", 25.0, 26.0, 27.0)
    assert suspect.verdict is ComparisonVerdict.NOT_COMPARABLE
    assert suspect.reason.startswith("the published figure cannot be right: 3,435")
    rate = compared("generation-rate", 134.0)
    assert rate.verdict is ComparisonVerdict.REPRODUCED
    assert [one.rule for one in rate.findings] == ["tokens/time=rate"]


def test_two_trials_are_too_few_for_a_verdict(
    published: dict[str, Claim],
) -> None:
    claim = published["agent/qwen35-27b/p1/generated-tokens"]  # 2,867
    few = compare_one(claim, ours(claim, 2867, 2867, interval=(2800, 2900)))
    assert (few.verdict, few.reason) == (
        ComparisonVerdict.TOO_FEW_TRIALS,
        "2 of at least 3 trials",
    )
    assert (few.interval, few.band, few.p_value) == (None, None, None)


def test_a_figure_outside_our_extremes_but_like_one_more_trial_is_reproduced(
    published: dict[str, Claim],
) -> None:
    claim = published["agent/qwen35-27b/p1/generated-tokens"]  # 2,867
    found = compare_one(claim, ours(claim, 4000, 5000, 9000))
    assert found.verdict is ComparisonVerdict.REPRODUCED
    assert found.band is not None
    assert found.band[0] < (found.ratio or 0) < found.band[1]


def test_a_figure_no_further_trial_would_show_differs(
    published: dict[str, Claim],
) -> None:
    claim = published["agent/qwen35-27b/p1/generated-tokens"]  # 2,867
    found = compare_one(claim, ours(claim, 9000, 9300, 9100, 8900, 9400))
    assert found.verdict is ComparisonVerdict.DIFFERS
    assert found.p_value is not None
    assert found.p_value < 1e-4


def test_a_comparison_states_the_factor_that_it_could_detect(
    published: dict[str, Claim],
) -> None:
    claim = published["agent/qwen35-27b/p1/generated-tokens"]
    spread = [2867 * math.exp(0.3 * z) for z in (-1.2649, -0.6325, 0, 0.6325, 1.2649)]
    found = compare_one(claim, ours(claim, *spread))  # log-sd 0.3
    assert found.verdict is ComparisonVerdict.REPRODUCED
    assert found.detectable_factor == pytest.approx(3.44, abs=0.01)
    assert found.detectable_factor_upper == pytest.approx(6.86, abs=0.01)
    assert factor_text(found) == "x3.44 to x6.86"


def test_trials_that_lie_too_far_apart_say_nothing(
    published: dict[str, Claim],
) -> None:
    claim = published["agent/qwen35-27b/p1/generated-tokens"]
    found = compare_one(claim, ours(claim, 100, 3000, 90000))
    assert found.verdict is ComparisonVerdict.TOO_FEW_TRIALS
    assert found.reason.startswith(
        "another trial like our 3 may differ by a factor of "
    )


def test_equal_trials_have_an_unknown_spread(published: dict[str, Claim]) -> None:
    claim = published["agent/qwen35-27b/p1/generated-tokens"]
    found = compare_one(claim, ours(claim, 3000, 3000, 3000))
    assert found.verdict is ComparisonVerdict.TOO_FEW_TRIALS
    assert found.reason == "our 3 trials are equal: their spread is unknown"


@pytest.mark.parametrize("quantity", ["api-calls", "tool-calls", "correct-turn"])
def test_counts_and_turns_need_39_trials(
    quantity: str, published: dict[str, Claim]
) -> None:
    claim = published[f"agent/qwen35-27b/p1/{quantity}"]
    far = [claim.value + 5, claim.value + 6]
    few = compare_one(claim, ours(claim, *(far * 19)))
    enough = compare_one(claim, ours(claim, *(far * 20)))
    around = compare_one(claim, ours(claim, claim.value, *(far * 20)))
    assert few.verdict is ComparisonVerdict.TOO_FEW_TRIALS
    assert few.reason == "38 of at least 39 trials for a count"
    assert enough.verdict is ComparisonVerdict.DIFFERS
    assert around.verdict is ComparisonVerdict.REPRODUCED


def test_a_trials_speed_may_miss_the_band_by_what_trials_differ(
    published: dict[str, Claim],
) -> None:
    claim = published["agent/qwen35-27b/p1/prefill-rate"]  # 2,474
    spread = compare_one(claim, ours(claim, 1700, 2100, 2500))
    steady = compare_one(claim, ours(claim, 1480, 1500, 1520))
    single = compare_one(claim, ours(claim, 1500))
    near = compare_one(claim, ours(claim, 2400))
    assert spread.verdict is ComparisonVerdict.REPRODUCED
    assert steady.verdict is ComparisonVerdict.DIFFERS
    assert single.verdict is ComparisonVerdict.TOO_FEW_TRIALS
    assert near.verdict is ComparisonVerdict.REPRODUCED


def test_another_criterion_of_correctness_is_another_turn_but_no_other_count(
    published: dict[str, Claim],
) -> None:
    def compared(quantity: str) -> Comparison:
        claim = published[f"agent/qwen35-27b/p1/{quantity}"]
        theirs = msgspec.structs.replace(claim.conditions, correctness="the eye")
        claim = dataclasses.replace(claim, conditions=theirs)
        values = [claim.value + number % 2 for number in range(40)]
        return compare_one(claim, ours(claim, *values, correctness="checks"))

    turn, calls = compared("correct-turn"), compared("api-calls")
    assert turn.reason == "correctness: ours checks, theirs the eye"
    assert calls.verdict is ComparisonVerdict.REPRODUCED
    assert [one.condition for one in calls.differences] == ["correctness"]


def test_only_differences_that_survive_holm_are_significant(
    published: dict[str, Claim],
) -> None:
    claim = published["agent/qwen35-27b/p1/generated-tokens"]
    slight = compare_one(claim, ours(claim, 4000, 5000, 6000, 5500, 4500))
    plain = compare_one(claim, ours(claim, 9000, 9300, 9100, 8900, 9400))
    alike = compare_one(claim, ours(claim, 2000, 3000, 4000))
    assert slight.verdict is plain.verdict is ComparisonVerdict.DIFFERS
    assert significant_after_holm([slight]) == (slight,)
    assert significant_after_holm([slight, plain, alike, alike]) == (plain,)
    assert significant_after_holm([]) == ()


def test_one_process_at_the_edge_of_the_band_does_not_decide_the_exit_code(
    published: dict[str, Claim],
) -> None:
    claim = published[TG]  # 45.88
    edge, far = (compare_one(claim, ours(claim, value)) for value in (41.0, 30.0))
    assert edge.verdict is far.verdict is ComparisonVerdict.DIFFERS
    assert significant_after_holm([edge, far]) == (far,)


def test_processes_too_far_apart_are_never_firm(published: dict[str, Claim]) -> None:
    claim = published[TG]
    found = compare_one(claim, ours(claim, 1.2, 99.0))
    assert found.firm is False
    assert significant_after_holm([found]) == ()


def test_sizes_must_agree_more_closely_than_speeds(published: dict[str, Claim]) -> None:
    claim = published["models/qwen35-27b/size"]
    near, far = 16.41 * 2**30, 17.0 * 2**30
    assert compare_one(claim, ours(claim, near)).verdict is ComparisonVerdict.REPRODUCED
    assert compare_one(claim, ours(claim, far)).verdict is ComparisonVerdict.DIFFERS


def test_a_comparison_is_json(published: dict[str, Claim]) -> None:
    claim = published[TG]
    found = compare_one(claim, ours(claim, 45.0, driver="580.1"))
    text = msgspec.json.encode(found)
    assert msgspec.json.decode(text, type=Comparison) == found


def test_equal_conditions_have_no_differences() -> None:
    same = Conditions(gpu="rtx-4090", temp=0.6)
    assert differences(same, same) == ()


def test_ratios_between_models_survive_another_gpu(published: dict[str, Claim]) -> None:
    slower = {
        claim.id: ours(claim, claim.value / 3, gpu="rtx-3090")
        for claim in published.values()
    }
    found = model_ratios(tuple(published.values()), slower)
    assert {(one.table, one.column) for one in found} >= {
        ("generation", "tg128"),
        ("prefill", "512"),
    }
    for one in found:
        assert one.tau == pytest.approx(1.0)
        assert one.ours == one.theirs
        assert all(pair.within for pair in one.pairs)
        assert one.pairs[0].ratio == pytest.approx(1.0)


def test_a_reversed_order_of_models_has_a_negative_tau(
    published: dict[str, Claim],
) -> None:
    first, second = published[TG], published["generation/small/tg128"]
    numbers = {first.id: ours(first, 90.0), second.id: ours(second, 45.0)}
    (found,) = model_ratios((first, second), numbers)
    assert found.tau == pytest.approx(-1.0)
    assert found.theirs == ("small", "qwen35-27b")
    assert found.ours == ("qwen35-27b", "small")
    assert not found.pairs[0].within


def test_what_was_measured_otherwise_is_left_out_of_the_ratios(
    tmp_path: Path,
) -> None:
    text = changed(
        "[45.88]\nsmall = [110.00]", "[45.88]\nsmall = [110.00]\nthird = [50.0]"
    ).replace(
        "small = { name", 'third = { name = "T", proxy_for = "small" }\nsmall = { name'
    )
    listed = [
        claim
        for claim in loaded(text, tmp_path).claims()
        if claim.table == "generation"
    ]
    numbers = {claim.id: ours(claim, claim.value) for claim in listed}
    (found,) = model_ratios(listed, numbers)
    assert found.left_out == ("generation/third/tg128",)
    numbers[TG] = ours(listed[0], 45.88, quant="Q8_0")
    assert model_ratios(listed, numbers) == ()


@pytest.mark.parametrize(
    ("one", "other", "tau"),
    [
        ((1, 2, 3, 4), (10, 20, 30, 40), 1.0),
        ((1, 2, 3, 4), (4, 3, 2, 1), -1.0),
        ((1, 2, 3, 4), (1, 2, 4, 3), 4 / 6),
        ((1, 2, 2, 4), (1, 2, 3, 4), 5 / 30**0.5),
        ((1, 1, 1), (1, 2, 3), None),
    ],
)
def test_kendalls_tau_counts_agreeing_pairs(
    one: tuple[float, ...], other: tuple[float, ...], tau: float | None
) -> None:
    assert kendall_tau(one, other) == (None if tau is None else pytest.approx(tau))


def test_time_to_first_token_of_an_agent_is_decided_by_its_trials(
    published: dict[str, Claim],
) -> None:
    claim = published["agent/qwen35-27b/p1/prompt-time"]
    claim = dataclasses.replace(claim, quantity=Quantity.FIRST_TOKEN_TIME)
    single = compare_one(claim, ours(claim, 1.2 * claim.interval.high))
    assert single.verdict is ComparisonVerdict.TOO_FEW_TRIALS
    assert single.p_value is None


def test_figure_whose_rounding_reaches_zero_has_no_detectable_factor(
    published: dict[str, Claim],
) -> None:
    claim = dataclasses.replace(
        published["summary/qwen35-27b/generation-rate"], value=1.0, step=1.0
    )
    assert claim.interval.low == 0
    found = compare_one(claim, ours(claim, 5.0))
    assert found.verdict is ComparisonVerdict.DIFFERS
    assert found.detectable_factor is None
