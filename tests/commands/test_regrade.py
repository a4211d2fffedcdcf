"""`invoke regrade`: archived work and today's checks, with the old verdict beside."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
from tests.commands.conftest import RunInvoke
from tests.report.made_trials import judged, made_trial, made_turns, stored_trials

from llamatrix.commands.regrade import outcome_of
from llamatrix.project import Project
from llamatrix.provision.programs import find_bwrap
from llamatrix.records.store import Store
from llamatrix.records.trial_record import AGENT
from llamatrix.sandbox.spec import probe
from llamatrix.trials.checks.finding import Judgement
from llamatrix.trials.checks.task import check_version, load_task
from llamatrix.trials.trial_result import (
    Correct,
    Incorrect,
    TrialOutcome,
    TurnResult,
    Undecided,
)

FAILED, PASSED, UNKNOWN = judged(["tests-pass"]), judged(), judged([], ["no-mocks"])


@pytest.mark.parametrize(
    ("judgements", "outcome"),
    [
        ([PASSED], Correct(turn=1)),
        ([FAILED, PASSED], Correct(turn=2)),
        ([FAILED, FAILED], Incorrect(turns=2)),
        ([FAILED, UNKNOWN], Undecided(turn=2)),
        ([FAILED, None], Incorrect(turns=2)),
    ],
)
def test_outcome_is_that_of_the_first_turn_that_did_not_fail(
    judgements: Sequence[Judgement | None], outcome: TrialOutcome
) -> None:
    assert outcome_of([_turn(each) for each in judgements]) == outcome


def _turn(judgement: Judgement | None) -> TurnResult:
    (made,) = made_turns("qwen35-27b", "httpx-post", Correct(turn=1), 1.0)
    return msgspec.structs.replace(made, judgement=judgement)


def test_the_checks_version_follows_what_they_are_made_of() -> None:
    assert check_version("httpx-post") != check_version("gemini-images")
    assert len(check_version("httpx-post")) == 12


def test_regrade_without_a_judged_trial_is_refused(
    run_invoke: RunInvoke,
) -> None:
    ended = run_invoke("regrade")
    assert ended.returncode == 5
    assert "no finished trial is recorded" in ended.stderr


@pytest.mark.slow
@pytest.mark.network
def test_regraded_trial_passes_and_keeps_its_old_record(
    run_invoke: RunInvoke,
    project: Project,
    user_cache: Path,
    invoke_environment: dict[str, str],
) -> None:
    invoke_environment["LLAMATRIX_CACHE"] = str(user_cache)
    bwrap = find_bwrap(user_cache)
    if probe(bwrap):
        pytest.skip("no user namespaces on this machine")
    trial = made_trial(outcome=Incorrect(turns=1))
    stored_trials(project.reports, [trial])
    assert trial.served
    folder = project.records / trial.host.slug / trial.served.trajectory
    solution = load_task("httpx-post").folder / "solution"
    shutil.copytree(solution / "workspace", folder / "turn-1" / "workspace")
    shutil.copy(solution / "trajectory.jsonl", folder / "trajectory.jsonl")
    ended = run_invoke("regrade")
    assert ended.returncode == 0, ended.stderr
    assert "correct on turn 1" in ended.stdout
    old, new = Store(reports=project.reports, kind=AGENT).read_all()
    assert old == trial
    assert new.result.outcome == Correct(turn=1)
    assert new.check_version == check_version("httpx-post")
    again = run_invoke("regrade")
    assert "today's checks judged it" in again.stderr
