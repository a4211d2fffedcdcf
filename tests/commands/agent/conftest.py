"""An agent cell of the shipped smoke profile, and records of it as a run makes them."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from tests.shipped import ROOT

from llamatrix.agents.turn_outcome import NotRun, WhyNotRun
from llamatrix.commands.pending import CellStatus, Pending, trial_status
from llamatrix.commands.trial_attempt import not_run
from llamatrix.config.agent_cell import AgentCell
from llamatrix.config.context import load_context
from llamatrix.config.expand import expand_plan
from llamatrix.config.load import load_matrix
from llamatrix.config.lock import load_lock
from llamatrix.project import Project
from llamatrix.records.store import Store
from llamatrix.records.trial_record import AGENT, TrialRecord
from llamatrix.trials.trial_result import TrialOutcome, TrialResult

TrialStatus = CellStatus[AgentCell]
Look = Callable[..., TrialStatus]
Put = Callable[..., TrialRecord]
NO_SANDBOX = NotRun(why=WhyNotRun.NO_SANDBOX, reason="none", remedy="install it")


@pytest.fixture
def cell() -> AgentCell:
    """Three trials of the first prompt."""
    matrix = load_matrix(ROOT / "matrix.toml")
    found = expand_plan(matrix, load_lock(ROOT / "matrix.lock"), "smoke").agents[0]
    agent = msgspec.structs.replace(found.agent, trials=3)
    return msgspec.structs.replace(found, agent=agent)


@pytest.fixture
def store(project: Project) -> Store[TrialRecord]:
    return Store(reports=project.reports, kind=AGENT)


@pytest.fixture
def look(cell: AgentCell, store: Store[TrialRecord]) -> Look:
    """Look the cell up, as it is or changed."""

    def look_up(
        changed: AgentCell = cell, *, again: int = 0, retry: bool = False
    ) -> TrialStatus:
        return trial_status(changed, store, again=again, retry=retry)

    return look_up


@pytest.fixture
def put(look: Look, store: Store[TrialRecord]) -> Put:
    """Record that a trial came to this."""
    count = iter(range(10, 60))

    def record(number: int, outcome: TrialOutcome, *changed: AgentCell) -> TrialRecord:
        made = msgspec.structs.replace(
            not_run(look(*changed), number, NO_SANDBOX),
            result=TrialResult(outcome=outcome),
            measured_at=f"2026-11-26T12:00:{next(count)}.000+00:00",
        )
        store.append(made)
        return made

    return record


@pytest.fixture
def pending_of(project: Project) -> Callable[..., Pending]:
    """These trials, and nothing else to do."""

    def make(*trials: TrialStatus) -> Pending:
        context = load_context("smoke", project=project)
        return Pending(context=context, speed=(), trials=trials)

    return make


@pytest.fixture
def bare_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH of one empty folder."""
    folder = tmp_path / "path"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder
