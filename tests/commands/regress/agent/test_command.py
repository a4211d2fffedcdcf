"""`invoke regress --agent` on synthetic trials: arguments, resuming, failures."""

import time
from dataclasses import dataclass

import pytest
from tests.commands.regress.agent.made import (
    HUNG,
    PASSED,
    MadeAttempts,
    always,
    asked,
    found_by,
    passing,
)

from llamatrix.agents.turn_outcome import SandboxLost
from llamatrix.commands.agent import TrialTally, make_trials
from llamatrix.commands.pending import find_pending
from llamatrix.commands.regress import compare_trials
from llamatrix.compare.agent import AgentCase
from llamatrix.config.context import load_context
from llamatrix.errors import ServeError
from llamatrix.project import Project
from llamatrix.records.pair_records import TRIAL_PAIRS
from llamatrix.records.store import Store
from llamatrix.records.trial_record import AGENT, TrialRecord
from llamatrix.report.comparison import (
    comparison_text,
)
from llamatrix.report.plots import Palette
from llamatrix.report.sections import slower_section
from llamatrix.report.views.answers import answers
from llamatrix.report.views.choose import choices, question_of_records
from llamatrix.report.views.regressions import compared_tasks, task_table
from llamatrix.stats.pairs import Arm, drawn_order
from llamatrix.stats.pass_rates import Passes
from llamatrix.stats.verdict import Verdict
from llamatrix.trials.trial_result import Broken, TrialOutcome

_A, _B = Arm.BASELINE, Arm.CANDIDATE


def _records(project: Project) -> list[TrialRecord]:
    return list(Store(reports=project.reports, kind=AGENT).read_all())


def test_trials_of_both_arms_run_in_pairs_into_the_ordinary_store(
    project: Project,
) -> None:
    attempts = MadeAttempts()
    found = found_by(project, attempts, asked(trials=3))
    (case,) = (cell.id for cell in found.cells)
    assert [(arm, number) for _, arm, number in attempts.made] == [
        (arm, number) for number in (1, 2, 3) for arm in drawn_order(case, number)
    ]
    ids = {record.cell.id for record in _records(project)}
    assert ids == {
        "agent/qwen35-27b.tiny/current/cpu/april/httpx-post",
        "agent/qwen35-27b.tiny/current/cpu/current/httpx-post",
    }


def test_tasks_take_turns_until_the_budget_ends(
    project: Project,
) -> None:
    attempts = MadeAttempts()
    found_by(project, attempts, asked(trials=2, tasks=""))
    assert [task for task, _, number in attempts.made if number == 1] == [
        *("httpx-post", "httpx-post", "gemini-images", "gemini-images"),
    ]


@pytest.mark.parametrize(
    ("passed", "verdict", "code"),
    [
        ((1, 2), Verdict.SLOWER, 10),
        ((), Verdict.BROKEN, 11),
        ((1, 2, 3), Verdict.INCONCLUSIVE, 12),
    ],
)
def test_drop_of_the_pass_rate_is_slower_and_exits_10(
    project: Project, passed: tuple[int, ...], verdict: Verdict, code: int
) -> None:
    found = found_by(project, MadeAttempts(candidate=passing(*passed)))
    assert (found.verdict, found.verdict.exit_code) == (verdict, code)
    (cell,) = found.cells
    assert cell.id == "agent/qwen35-27b.tiny/current/cpu/april..current/httpx-post"
    assert cell.comparison.candidate.passes == Passes(passed=len(passed), trials=5)


def test_rise_of_the_pass_rate_is_faster_and_exits_0(project: Project) -> None:
    found = found_by(project, MadeAttempts(baseline=passing(1)))
    assert (found.verdict, found.verdict.exit_code) == (Verdict.FASTER, 0)


def test_many_passing_trials_are_the_same(project: Project) -> None:
    found = found_by(project, MadeAttempts(), asked(trials=21))
    assert (found.verdict, found.verdict.exit_code) == (Verdict.SAME, 0)


def test_second_run_makes_no_trial_and_gives_the_same_verdict(project: Project) -> None:
    first = found_by(project, MadeAttempts(candidate=passing(1, 2)))
    attempts = MadeAttempts()
    second = found_by(project, attempts)
    assert not attempts.made
    assert (second.cells, second.verdict) == (first.cells, first.verdict)
    assert "no trial made: 10 known from records" in comparison_text(second)


def test_page_has_the_pass_rates_of_both_arms_with_the_verdict(
    project: Project,
) -> None:
    for _ in range(2):  # the second run makes no trial and adds no record
        found_by(project, MadeAttempts(candidate=passing(0)))
    records = list(Store(reports=project.reports, kind=TRIAL_PAIRS).read_all())
    assert [record.baseline.turns.count(None) for record in records] == [0]
    tasks = compared_tasks(records, {})
    (row,) = task_table(tasks).cells
    assert [cell.text for cell in row[1:4]] == [
        *("httpx-post", "5/5 [0.57, 1.00]", "0/5 [0.00, 0.43]")
    ]
    assert (row[6].text, row[7].text) == ("BROKEN", "april → current")
    unknown = choices(question_of_records([], []), models={})
    _, slower, _ = answers(unknown, (), (), (), tasks=tasks, sets_href="")
    assert slower.answer == "Yes: BROKEN"
    assert "httpx-post: passes 5/5" in slower.lines[0]
    section = slower_section((), tasks, (), palette=Palette(models={}))
    assert section.title == "Did it get slower or break?"
    assert section.tables


def test_ctrl_c_keeps_trials_and_a_rerun_continues(project: Project) -> None:
    first = MadeAttempts(interrupted_at=3)
    with pytest.raises(KeyboardInterrupt):
        found_by(project, first)
    assert len(_records(project)) == 3
    rest = MadeAttempts()
    found = found_by(project, rest)
    assert sorted([*first.made, *rest.made]) == sorted(
        ("httpx-post", arm, number) for arm in Arm for number in range(1, 6)
    )
    assert "3 trials were known before" in comparison_text(found)


def test_trials_of_invoke_agent_are_reused(project: Project) -> None:
    """The baseline here is smoke's own cell: its digest is the ordinary one."""
    swapped = asked(baseline="", candidate="agent:april", trials=2)
    found_by(project, MadeAttempts(), swapped)
    again = MadeAttempts()
    found_by(project, again, asked(trials=2))
    assert not again.made


def test_identical_arms_share_a_cell_and_no_trial(project: Project) -> None:
    same = "agent:current"
    attempts = MadeAttempts()
    found = found_by(project, attempts, asked(baseline=same, candidate=same, trials=2))
    assert {(arm, number) for _, arm, number in attempts.made} == {
        *((_A, 1), (_B, 3), (_B, 4), (_A, 2)),
    }
    assert found.identical
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "both arms are the same (A/A)" in comparison_text(found)
    assert len({record.cell.digest for record in _records(project)}) == 1


def test_a_candidate_that_hangs_is_broken_after_two_attempts_and_soon_given_up(
    project: Project,
) -> None:
    attempts = MadeAttempts(candidate=always(HUNG))
    found = found_by(project, attempts)
    assert found.verdict is Verdict.BROKEN
    tries = [number for _, arm, number in attempts.made if arm is _B]
    assert tries == [1, 1, 2, 2]
    text = comparison_text(found)
    assert "broken: 2 trials broke, twice each" in text
    assert "given up after 2 broken trials of the candidate" in text
    again = MadeAttempts()
    assert found_by(project, again).verdict is Verdict.BROKEN
    assert not again.made


def test_failure_that_a_second_attempt_does_not_repeat_breaks_nothing(
    project: Project,
) -> None:
    seen: list[int] = []

    def once(number: int) -> TrialOutcome:
        seen.append(number)
        return HUNG if seen.count(number) == 1 else PASSED

    found = found_by(project, MadeAttempts(candidate=once), asked(trials=2))
    assert found.verdict is Verdict.INCONCLUSIVE
    assert found.cells[0].comparison.candidate.passes == Passes(passed=2, trials=2)
    assert len(_records(project)) == 6


def test_lost_sandbox_breaks_neither_arm(project: Project) -> None:
    lost = Broken(turn=1, cause=SandboxLost(reason="no space left"))
    found = found_by(project, MadeAttempts(candidate=always(lost)), asked(trials=1))
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "1 lost by the harness, or failed and not tried again" in comparison_text(
        found
    )


def test_a_candidate_whose_server_does_not_start_is_broken(project: Project) -> None:
    found = found_by(project, MadeAttempts(dies=_B))
    assert found.verdict is Verdict.BROKEN
    assert "the candidate's server: llama-server: ended" in comparison_text(found)


def test_a_baseline_whose_server_does_not_start_stops_the_harness(
    project: Project,
) -> None:
    with pytest.raises(ServeError):
        found_by(project, MadeAttempts(dies=_A))


def test_a_candidate_that_is_broken_before_the_first_trial_gets_none(
    project: Project,
) -> None:
    attempts = MadeAttempts(breaks="the candidate's template fails essential cases")
    found = found_by(project, attempts)
    assert found.verdict is Verdict.BROKEN
    assert not attempts.made
    assert "broken: the candidate's template fails" in comparison_text(found)


def test_machine_that_cannot_run_trials_is_inconclusive_with_the_reason(
    project: Project,
) -> None:
    found = found_by(project, MadeAttempts(lacks="not run (no key): set it"))
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "not run (no key): set it" in comparison_text(found)


def test_refused_calls_in_all_trials_break_and_in_one_are_reported(
    project: Project,
) -> None:
    attempts = MadeAttempts(refusals={_B: ("HTTP 500: parse error",)})
    found = found_by(project, attempts, asked(trials=1))
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "candidate: 1 scored with calls that the server refused" in comparison_text(
        found
    )
    found = found_by(project, attempts)
    assert found.verdict is Verdict.BROKEN


def test_a_spent_budget_makes_no_trial_and_says_so(project: Project) -> None:
    attempts = MadeAttempts()
    found = found_by(project, attempts, asked(budget="0s"))
    assert not attempts.made
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "the budget ended before trial 1" in comparison_text(found)


@dataclass(kw_only=True, slots=True)
class SlowToProvide(MadeAttempts):
    """A first run, which compiles two builds before it can try anything."""

    def lacking(self, case: AgentCase) -> str:
        time.sleep(0.3)
        return super(SlowToProvide, self).lacking(case)


def test_provisioning_does_not_count_against_the_budget(project: Project) -> None:
    attempts = SlowToProvide()
    found_by(project, attempts, asked(budget="0.2s", trials=1))
    assert attempts.made


def test_dry_run_says_the_smallest_drop_and_writes_nothing(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    attempts = MadeAttempts()
    request = asked(dry_run=True)
    assert compare_trials(request, project=project, attempts=attempts) is None
    said = capsys.readouterr().err
    assert "10 to make, 0 known" in said
    assert "2/5 or fewer would be called worse" in said
    assert "4 of 5 such runs would call: 67 points" in said
    assert not attempts.made
    assert not project.reports.exists()
    compare_trials(asked(trials=1), project=project, attempts=attempts)
    said = capsys.readouterr().err
    assert "no drop can be called with 1 of each arm: at least 2 are needed" in said


def test_an_ordinary_run_counts_the_trials_made_here(project: Project) -> None:
    """`invoke agent` finds them under its own digest and makes none again."""
    found_by(project, MadeAttempts(), asked(trials=2))
    pending = find_pending(load_context("smoke"), "agent/*httpx-post")
    assert make_trials(pending.trials, pending.context) == TrialTally(reused=2)
