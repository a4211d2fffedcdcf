"""The harness beside OpenCode: against a limit of its own for each trial."""

import msgspec
import pytest
from tests.report.made_trials import NO_SANDBOX, made_trial

from llamatrix.proxy.cost import Cost
from llamatrix.records.trial_record import TrialRecord
from llamatrix.report.views.overhead import tap_text, trials_text

HOST = "rtx-4090-abc123"


def trial(harness_s: float, *, trial: int = 1, host: str = HOST) -> TrialRecord:
    record = made_trial(trial=trial, host_slug=host)
    result = msgspec.structs.replace(record.result, harness_s=harness_s)
    return msgspec.structs.replace(record, result=result)


def test_the_parts_of_a_trial_make_up_its_whole() -> None:
    result = made_trial().result
    agent_s = sum(turn.seconds for turn in result.turns)
    parts_s = agent_s + result.judging_s + result.harness_s
    assert parts_s == pytest.approx(result.seconds)
    assert result.judging_s == 4.5


def test_what_the_tap_adds_is_a_median_of_pairs_with_an_interval() -> None:
    cost = Cost(
        direct_s=(0.010, 0.020, 0.030, 0.010, 0.010, 0.010, 0.010),
        tapped_s=(0.011, 0.022, 0.033, 0.011, 0.012, 0.013, 0.109),
        identical=True,
    )
    assert tap_text(cost) == (
        "tap: a call takes 2.00 ms longer [1.00, 99.00], median of 7 pairs "
        "(at most 5 ms); bytes identical: yes"
    )


def test_few_pairs_have_no_interval_and_lost_bytes_are_reported() -> None:
    text = tap_text(Cost(direct_s=(0.01,), tapped_s=(0.02,), identical=False))
    assert "10.00 ms longer too few pairs for an interval" in text
    assert text.endswith("bytes identical: no")


def test_a_trial_over_its_limit_is_named_with_what_it_may_take() -> None:
    text = trials_text([trial(0.5), trial(2.0, trial=2)], host=HOST, tap_s=0.01)
    assert "2 trials: median 1.26 s, largest 2.01 s; 1 of 2 within" in text
    over = "#2: 2.01 s of at most 2.00 s (1 turns, 1 calls)"
    assert [line for line in text.splitlines() if "over:" in line] == [
        f"  over: agent/qwen35-27b/april/cuda/april/httpx-post {over}"
    ]
    for words in ("in it: opening the sandbox", "not in it: starting and loading"):
        assert words in text


def test_each_call_raises_the_limit_of_a_trial() -> None:
    one = trial(2.0)
    (turn,) = one.result.turns
    busy = msgspec.structs.replace(turn, calls=turn.calls * 100)
    result = msgspec.structs.replace(one.result, turns=(busy,))
    text = trials_text(
        [msgspec.structs.replace(one, result=result)], host=HOST, tap_s=0.001
    )
    assert "1 of 1 within" in text
    assert "2.10 s of at most 2.50 s" in text
    assert "over:" not in text


def test_other_hosts_and_trials_never_begun_are_not_counted() -> None:
    never = made_trial(outcome=NO_SANDBOX)
    text = trials_text([trial(9.0, host="elsewhere"), never], host=HOST, tap_s=0.0)
    assert text.startswith(f"harness time per trial: no trial of {HOST} is recorded")
    assert "`invoke agent --profile smoke`" in text
