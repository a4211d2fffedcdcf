from dataclasses import replace

import pytest

from llamatrix.stats.pass_rates import Passes, compare_passes
from llamatrix.stats.trials import (
    ArmTrials,
    breaks,
    judge_trials,
    overall_verdict,
    pooled,
)
from llamatrix.stats.verdict import Verdict


def _arm(passed: int, failed: int = 0, **more: object) -> ArmTrials:
    return replace(ArmTrials(turns=(1,) * passed + (None,) * failed), **more)  # type: ignore[arg-type]


def _word(baseline: ArmTrials, candidate: ArmTrials) -> Verdict:
    return judge_trials(baseline, candidate, max_turns=3).verdict


@pytest.mark.parametrize(
    ("baseline", "candidate", "verdict"),
    [
        (_arm(5), _arm(2, 3), Verdict.SLOWER),
        (_arm(5), _arm(3, 2), Verdict.INCONCLUSIVE),
        (_arm(2, 3), _arm(5), Verdict.FASTER),
        (_arm(30), _arm(30), Verdict.SAME),
        (_arm(4), _arm(0, 4), Verdict.BROKEN),
        (_arm(3), _arm(0, 3), Verdict.SLOWER),
        (_arm(1), _arm(1), Verdict.INCONCLUSIVE),
        (_arm(0), _arm(5), Verdict.INCONCLUSIVE),
    ],
)
def test_verdict_follows_pass_counts(
    baseline: ArmTrials, candidate: ArmTrials, verdict: Verdict
) -> None:
    assert _word(baseline, candidate) is verdict


def test_unscored_trials_are_not_failures() -> None:
    found = judge_trials(_arm(5), _arm(3, undecided=1, lost=1), max_turns=3)
    assert found.comparison is not None
    assert found.comparison.candidate == Passes(passed=3, trials=3)
    assert found.verdict is not Verdict.BROKEN


def test_one_broken_trial_breaks_candidate_if_baseline_has_none() -> None:
    found = judge_trials(_arm(2), _arm(1, broken=("agent hung",)), max_turns=3)
    assert found.verdict is Verdict.BROKEN
    assert found.breaks == ("1 trials broke, twice each: agent hung",)


@pytest.mark.parametrize(
    ("baseline", "candidate"),
    [
        (_arm(2, broken=("agent hung",)), _arm(1, broken=("agent hung",))),
        (_arm(0, broken=("agent hung",) * 2), _arm(0, broken=("agent hung",) * 2)),
        (_arm(0), _arm(0, broken=("agent hung",))),
    ],
)
def test_failure_in_both_arms_or_without_working_baseline_is_no_break(
    baseline: ArmTrials, candidate: ArmTrials
) -> None:
    assert _word(baseline, candidate) is Verdict.INCONCLUSIVE


def test_candidate_with_only_broken_trials_is_broken() -> None:
    baseline, candidate = _arm(4, broken=("hung",)), _arm(0, broken=("hung",) * 2)
    assert _word(baseline, candidate) is Verdict.BROKEN


@pytest.mark.parametrize(
    ("baseline", "candidate", "broken"),
    [
        (_arm(4), _arm(4, refused=4), True),
        (_arm(4), _arm(4, refused=3), False),
        (_arm(4, refused=1), _arm(4, refused=4), False),
        (_arm(3), _arm(3, refused=3), False),
    ],
)
def test_refused_calls_in_every_trial_break_candidate_if_baseline_has_none(
    baseline: ArmTrials, candidate: ArmTrials, *, broken: bool
) -> None:
    assert bool(breaks(baseline, candidate)) is broken


def test_template_failure_breaks_only_if_baseline_passes() -> None:
    fine, failing = _arm(1), _arm(1, template_fails=True)
    assert _word(fine, failing) is Verdict.BROKEN
    assert _word(failing, failing) is Verdict.INCONCLUSIVE
    assert _word(failing, fine) is Verdict.INCONCLUSIVE


def test_candidate_that_cannot_begin_is_broken_without_trials() -> None:
    found = judge_trials(_arm(0), _arm(0), max_turns=3, broken="does not build")
    assert (found.verdict, found.breaks) == (Verdict.BROKEN, ("does not build",))


def test_censored_turns_are_ranked_last() -> None:
    found = judge_trials(
        ArmTrials(turns=(1, 1, 2)), ArmTrials(turns=(2, 3, None)), max_turns=3
    )
    assert found.turns is not None
    # sums 4 and 9; of the 20 halves two sum to 9 or more, and two to 4 or less
    assert found.turns.difference == pytest.approx(5 / 3)
    assert found.turns.p_value == pytest.approx(4 / 20)


@pytest.mark.parametrize(
    ("baseline", "candidate"), [((5, 5), (3, 5)), ((9, 10), (6, 10)), ((1, 3), (3, 3))]
)
def test_pooling_one_cell_equals_that_cell(
    baseline: tuple[int, int], candidate: tuple[int, int]
) -> None:
    arms = [Passes(passed=p, trials=n) for p, n in (baseline, candidate)]
    one = compare_passes(*arms)
    found = pooled([one])
    assert found.drop_probability == pytest.approx(one.drop_probability, abs=1e-5)
    assert found.rise_probability == pytest.approx(one.rise_probability, abs=1e-5)


def test_pooled_rate_of_two_cells_matches_hand_calculation() -> None:
    """Each difference u = x - y of Beta(2, 1) and Beta(1, 2), summed by brute force."""
    steps = 400

    def density(u: float) -> float:
        low, high = max(0.0, u), min(1.0, 1 + u)

        def whole(x: float) -> float:  # of 2x * 2(1 - (x - u))
            return 2 * x**2 * (1 + u) - 4 * x**3 / 3

        return whole(high) - whole(low)

    at = [-1 + (i + 0.5) * 2 / steps for i in range(steps)]
    mass = [density(u) * 2 / steps for u in at]
    by_hand = sum(
        a * b
        for u, a in zip(at, mass, strict=True)
        for v, b in zip(at, mass, strict=True)
        if u + v > 0.2
    )
    one = compare_passes(Passes(passed=1, trials=1), Passes(passed=0, trials=1))
    assert pooled([one, one]).drop_probability == pytest.approx(by_hand, abs=3e-3)


def test_small_drops_in_many_cells_are_slower_when_pooled() -> None:
    verdicts = [judge_trials(_arm(5), _arm(3, 2), max_turns=3) for _ in range(4)]
    together = pooled([one.comparison for one in verdicts if one.comparison])
    assert {one.verdict for one in verdicts} == {Verdict.INCONCLUSIVE}
    assert together.baseline == Passes(passed=20, trials=20)
    assert together.mean_drop == pytest.approx(6 / 7 - 4 / 7)
    assert together.verdict is Verdict.SLOWER
    assert overall_verdict(verdicts, together) is Verdict.SLOWER


def test_steady_mean_does_not_cancel_a_slower_cell() -> None:
    verdicts = [
        judge_trials(_arm(10), _arm(4, 6), max_turns=3),
        judge_trials(_arm(4, 6), _arm(10), max_turns=3),
    ]
    together = pooled([one.comparison for one in verdicts if one.comparison])
    assert together.mean_drop == pytest.approx(0)
    assert overall_verdict(verdicts, together) is Verdict.SLOWER


def test_better_mean_keeps_the_overall_verdict_inconclusive() -> None:
    verdicts = [judge_trials(_arm(3, 2), _arm(5), max_turns=3) for _ in range(4)]
    together = pooled([one.comparison for one in verdicts if one.comparison])
    assert together.verdict is Verdict.FASTER
    assert overall_verdict(verdicts, together) is Verdict.INCONCLUSIVE
