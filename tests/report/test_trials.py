"""Which trials belong together, and which of them are counted as what."""

import msgspec
import pytest
from tests.report.made_trials import (
    IMAGES,
    NO_SANDBOX,
    made_trial,
    published_trials,
    several_trials,
)

from llamatrix.agents.turn_outcome import EndpointDied
from llamatrix.config.matrix import Network, WeightsKind
from llamatrix.records.trial_record import TrialRecord
from llamatrix.report.trials import TrialGroup, Trials, trial_groups
from llamatrix.trials.trial_result import Broken, Correct, Incorrect, Undecided

MODEL, TASK = "Qwen3.5-27B", "httpx-post"
LOST = Broken(turn=1, cause=EndpointDied(error="gone"))


def only(records: list[TrialRecord]) -> TrialGroup:
    (group,) = trial_groups(records)
    return group


def trials_of(records: list[TrialRecord]) -> Trials:
    return only(records).trials[MODEL, TASK]


def test_a_trial_that_was_never_correct_is_censored() -> None:
    records = [
        made_trial(trial=1, outcome=Correct(turn=2)),
        made_trial(trial=2, outcome=Incorrect(turns=3)),
    ]
    assert trials_of(records).turns == (2, None)


def test_what_the_harness_lost_is_counted_and_never_scored() -> None:
    found = trials_of(
        [
            made_trial(trial=1),
            made_trial(trial=2, outcome=LOST),
            made_trial(trial=3, outcome=NO_SANDBOX),
            made_trial(trial=4, outcome=Undecided(turn=1)),
        ]
    )
    assert found.passes is not None
    assert (found.passes.passed, found.passes.trials) == (1, 1)
    assert (found.broken, found.not_run, found.undecided) == (1, 1, 1)
    assert [record.trial for record in found.finished] == [1, 4]


def test_without_a_scored_trial_there_is_no_rate() -> None:
    assert trials_of([made_trial(outcome=LOST)]).passes is None


def test_a_trial_that_was_lost_and_run_again_is_not_hidden() -> None:
    again = made_trial(measured_at="2026-11-21T12:00:00.000+00:00")
    found = trials_of([made_trial(outcome=LOST), again])
    assert (found.broken, found.turns) == (1, (1,))


def test_scripted_trials_are_never_mixed_with_others() -> None:
    found = trial_groups([made_trial(trial=1), made_trial(trial=2, script="solution")])
    assert [group.setup.scripted for group in found] == [False, True]
    assert [len(group.records) for group in found] == [1, 1]


@pytest.mark.parametrize(
    "other",
    [
        {"agent_version": "1.18.33"},
        {"context7": "4.1.1"},
        {"cell": {"pin": "current"}},
        {"cell": {"build": "cpu"}},
        {"cell": {"agent": "mine"}},
        {"cell": {"network": Network.HERMETIC}},
        {"host": {"slug": "another-host-000000"}},
    ],
)
def test_what_was_measured_otherwise_stands_apart(other: dict[str, object]) -> None:
    record = made_trial(trial=2)
    changes = {
        key: msgspec.structs.replace(getattr(record, key), **value)
        if isinstance(value, dict)
        else value
        for key, value in other.items()
    }
    found = trial_groups([made_trial(), msgspec.structs.replace(record, **changes)])
    assert len(found) == 2
    assert len({group.setup.name for group in found}) == 2


def test_weights_of_another_kind_stand_apart_served_or_not() -> None:
    full = made_trial(weights=WeightsKind.FULL)
    waiting = made_trial(weights=WeightsKind.TINY, outcome=NO_SANDBOX)
    unknown = made_trial(outcome=NO_SANDBOX)
    found = trial_groups([made_trial(trial=2), full, waiting, unknown])
    assert [group.setup.weights for group in found] == [
        *(WeightsKind.FULL, WeightsKind.HUB, WeightsKind.TINY),
    ]
    assert [len(group.records) for group in found] == [1, 2, 1]


def test_a_trial_that_could_not_be_run_is_dropped_once_it_ran() -> None:
    days = [f"2026-11-2{day}T12:00:00.000+00:00" for day in range(3)]
    before = [made_trial(outcome=NO_SANDBOX, measured_at=day) for day in days[:2]]
    assert trials_of(before).not_run == 1
    found = trials_of([*before, made_trial(measured_at=days[2])])
    assert (found.not_run, found.turns) == (0, (1,))


def test_the_order_of_the_records_does_not_matter() -> None:
    records = [*published_trials(script="solution"), *several_trials()]
    assert trial_groups(records) == trial_groups(reversed(records))


def test_models_stand_in_the_order_of_the_matrix_and_prompts_as_published() -> None:
    records = [made_trial("gemma4-31b"), made_trial(task=IMAGES), made_trial()]
    group, *_ = trial_groups(records, models=("qwen35-27b", "gemma4-31b"))
    assert group.models == ("Qwen3.5-27B", "Gemma4-31B")
    assert [one.cell.task for one in group.records] == [TASK, IMAGES, TASK]


def test_of_two_digests_the_current_one_is_shown_else_the_newest() -> None:
    old = made_trial(
        digest="a" * 64, spec_digest="1" * 64, trial=1, measured_at="2026-01-01"
    )
    new = made_trial(
        digest="b" * 64, spec_digest="2" * 64, trial=2, measured_at="2026-02-01"
    )
    assert [one.trial for one in only([old, new]).records] == [2]
    (group,) = trial_groups([old, new], current=frozenset({"1" * 64}))
    assert [one.trial for one in group.records] == [1]


def test_no_records_are_no_groups() -> None:
    assert trial_groups([]) == ()
