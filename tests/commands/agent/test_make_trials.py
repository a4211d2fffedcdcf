"""What the conductor does with trials that are there, and with those that cannot be."""

from collections.abc import Callable

import msgspec
import pytest
from tests.commands.agent.conftest import NO_SANDBOX, Look, Put

from llamatrix.agents.turn_outcome import AgentFailed, EndpointDied, NotRun, WhyNotRun
from llamatrix.commands import agent
from llamatrix.commands.agent import TrialTally, describe, make_trials
from llamatrix.commands.pending import Pending
from llamatrix.commands.trial_parts import TemplateRefusedError
from llamatrix.config.agent_cell import AgentCell
from llamatrix.records.store import Store
from llamatrix.records.trial_record import TrialRecord
from llamatrix.trials.trial_result import (
    Broken,
    Correct,
    Incorrect,
    TrialOutcome,
    Undecided,
)

PendingOf = Callable[..., Pending]


def make(pending: Pending) -> TrialTally:
    return make_trials(pending.trials, pending.context)


FAILED = AgentFailed(exit_code=1, errors=("a",), tail=("b", "c"))


def test_complete_cell_makes_no_trial(
    look: Look, put: Put, pending_of: PendingOf, store: Store[TrialRecord]
) -> None:
    made = [put(number, Correct(turn=1)) for number in (1, 2, 3)]
    tally = make(pending_of(look()))
    assert tally == TrialTally(reused=3)
    assert tally.summary == "no trial made: all 3 reused from records"
    assert list(store.read_all()) == made


def test_broken_and_undecided_trials_of_a_model_are_counted_apart(
    cell: AgentCell, look: Look, put: Put, pending_of: PendingOf
) -> None:
    agent = msgspec.structs.replace(cell.agent, scripts={})
    unscripted = msgspec.structs.replace(cell, agent=agent)
    died = Broken(turn=1, cause=EndpointDied(error="gone"))
    for number, outcome in enumerate((died, Undecided(turn=1), Correct(turn=1)), 1):
        put(number, outcome)
        put(number, outcome, unscripted)
    tally = make(pending_of(look(), look(unscripted)))
    assert (tally.without_number, tally.unscripted) == (4, 2)


def test_trial_that_cannot_run_is_recorded_once(
    look: Look,
    put: Put,
    pending_of: PendingOf,
    store: Store[TrialRecord],
    request: pytest.FixtureRequest,
    capsys: pytest.CaptureFixture[str],
) -> None:
    put(1, Correct(turn=1))
    item = look()
    request.getfixturevalue("bare_path")
    for _ in range(2):
        tally = make(pending_of(item))
        assert tally == TrialTally(reused=1, not_run=2)
        assert tally.summary == "0 trials made, 1 reused; 2 not run"
    _, *added = store.read_all()
    assert [one.trial for one in added] == [2, 3]
    for one in added:
        assert isinstance(one.result.outcome, NotRun)
        assert one.result.outcome.why is WhyNotRun.NO_SANDBOX
        assert one.served is None
    assert "not run (no sandbox): bwrap: not found" in capsys.readouterr().err


def test_trial_that_cannot_run_for_another_reason_is_recorded_again(
    look: Look,
    put: Put,
    pending_of: PendingOf,
    store: Store[TrialRecord],
    request: pytest.FixtureRequest,
) -> None:
    for number in (1, 2, 3):
        put(number, NO_SANDBOX)
    item = look()
    request.getfixturevalue("bare_path")
    assert make(pending_of(item)).not_run == 3
    assert len(list(store.read_all())) == 6


def test_a_refused_template_stops_its_cell_alone(
    look: Look,
    pending_of: PendingOf,
    store: Store[TrialRecord],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object, any_template: bool) -> None:
        del any_template
        raise TemplateRefusedError("it fails multiple-systems", "choose another")

    monkeypatch.setattr(agent, "unmet", lambda *_: None)
    monkeypatch.setattr(agent, "shared_services", lambda *_: None)
    monkeypatch.setattr(agent, "provide_build", lambda *_, **__: None)
    monkeypatch.setattr(agent, "provide_agent_parts", refuse)
    assert make(pending_of(look(), look())).not_run == 6
    why = NotRun(
        why=WhyNotRun.TEMPLATE,
        reason="it fails multiple-systems",
        remedy="choose another",
    )
    assert [one.result.outcome for one in store.read_all()] == [why] * 3


def test_the_server_is_compiled_first_and_what_trials_need_is_fetched_meanwhile(
    look: Look, pending_of: PendingOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []

    def build(*_: object, meanwhile: Callable[[], None]) -> None:
        steps.append("build")
        meanwhile()

    def refuse(*_: object, any_template: bool) -> None:
        del any_template
        raise TemplateRefusedError("it fails multiple-systems", "choose another")

    monkeypatch.setattr(agent, "unmet", lambda *_: None)
    monkeypatch.setattr(agent, "provide_build", build)
    monkeypatch.setattr(agent, "fetch_for_trials", lambda *_: steps.append("fetch"))
    monkeypatch.setattr(agent, "shared_services", lambda *_: steps.append("services"))
    monkeypatch.setattr(agent, "provide_agent_parts", refuse)
    make(pending_of(look()))
    assert steps == ["build", "fetch", "services"]


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        (Correct(turn=2), "correct on turn 2"),
        (Incorrect(turns=3), "not correct after 3 turns"),
        (
            Undecided(turn=1),
            "undecided on turn 1: something could not be judged",
        ),
        (
            Broken(turn=2, cause=EndpointDied(error="cut")),
            "broken on turn 2, not scored: endpoint died: cut",
        ),
        (
            Broken(turn=1, cause=FAILED),
            "broken on turn 1, not scored: agent failed: exit code 1: a",
        ),
        (NO_SANDBOX, "not run (no sandbox): none; install it"),
    ],
)
def test_describe_has_a_line_for_every_outcome(
    outcome: TrialOutcome, words: str
) -> None:
    assert describe(outcome) == words


def test_tally_names_trials_that_retry_would_repeat() -> None:
    tally = TrialTally(reused=1, made=4, broken=2)
    assert tally.summary == (
        "4 trials made, 1 reused; 2 broken (kept; `--retry` makes them again)"
    )
