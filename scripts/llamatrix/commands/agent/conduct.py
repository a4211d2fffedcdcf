"""The conductor of trials: provide, serve, try, record, skipping what is done."""

import os
import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import assert_never

from llamatrix.agents.turn_outcome import NotRun, WhyNotRun
from llamatrix.commands.agent.agenda import TrialItem, latest_trials
from llamatrix.commands.agent.attempt import attempt, folder_of, new_trajectory, not_run
from llamatrix.commands.agent.needs import unmet
from llamatrix.commands.agent.parts import (
    AgentParts,
    TemplateRefusedError,
    provide_agent_parts,
)
from llamatrix.commands.session import Session
from llamatrix.config.agent_cell import AgentCell
from llamatrix.config.matrix import Network
from llamatrix.exclusive import exclusive
from llamatrix.host import this_host
from llamatrix.progress import say
from llamatrix.project import Project
from llamatrix.provision.python import provide_wheels
from llamatrix.records.store import Store, UnwrittenError
from llamatrix.records.trial_record import AGENT, TrialRecord
from llamatrix.report.views.troubles import cause_text
from llamatrix.trials.stubs.services import Services, services
from llamatrix.trials.stubs.wheel_index import LOCKED
from llamatrix.trials.trial_result import (
    Broken,
    Correct,
    Incorrect,
    TrialOutcome,
    Undecided,
)
from llamatrix.units import duration_text


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialTally:
    """What a run did, counted in trials."""

    reused: int = 0
    made: int = 0
    broken: int = 0
    not_run: int = 0
    unscored: int = 0
    """Undecided ones, and reused ones that are neither passed nor failed."""

    @property
    def without_number(self) -> int:
        return self.broken + self.not_run + self.unscored

    @property
    def summary(self) -> str:
        if not self.made and not self.not_run:
            return f"no trial made: all {self.reused} reused from records"
        words = [f"{self.made} trials made, {self.reused} reused"]
        if self.broken:
            words.append(f"{self.broken} broken (kept; `--retry` makes them again)")
        if self.not_run:
            words.append(f"{self.not_run} not run")
        return "; ".join(words)


def conduct_trials(session: Session) -> TrialTally:
    """Make the trials that a session's cells lack; each is on disk before the next."""
    reused = sum(item.reused for item in session.trials)
    unscored = sum(item.unscored for item in session.trials)
    todo = [item for item in session.trials if item.todo]
    if not todo:
        return TrialTally(reused=reused, unscored=unscored)
    Store(reports=session.project.reports, kind=AGENT).require_room(this_host().slug)
    made: list[TrialRecord] = []
    ready: list[TrialItem] = []
    for item in todo:
        if why := unmet(item.cell, session.project.cache, os.environ):
            made += _none_of(item, why, session)
        else:
            ready.append(item)
    cells = [item.cell for item in ready]
    with ExitStack() as held:
        shared = shared_services(cells, session.project, held)
        for item in ready:
            made += _cell(item, session, shared)
    outcomes = [one.result.outcome for one in made]
    elsewhere = sum(len(item.todo) for item in todo) - len(made)
    return TrialTally(
        reused=reused + elsewhere,
        made=sum(not isinstance(one, NotRun) for one in outcomes),
        broken=sum(isinstance(one, Broken) for one in outcomes),
        not_run=sum(isinstance(one, NotRun) for one in outcomes),
        unscored=unscored + sum(isinstance(one, Undecided) for one in outcomes),
    )


def shared_services(
    cells: Sequence[AgentCell], project: Project, held: ExitStack
) -> Services | None:
    """What hermetic trials share, served until `held` ends; None where none is."""
    if all(cell.agent.network is Network.ONLINE for cell in cells):
        return None
    wheels = provide_wheels(LOCKED, project.cache)
    log = project.logs / "services.jsonl"
    return held.enter_context(services(wheels=wheels, log=log))


def _none_of(item: TrialItem, why: NotRun, session: Session) -> list[TrialRecord]:
    say(f"{item.cell.id}: {describe(why)}")
    store = Store(reports=session.project.reports, kind=AGENT)
    return [_not_run(item, number, why, store) for number in item.todo]


def _cell(
    item: TrialItem, session: Session, shared: Services | None
) -> list[TrialRecord]:
    project = session.project
    store = Store(reports=project.reports, kind=AGENT)
    try:
        parts = provide_agent_parts(item.cell, session)
    except TemplateRefusedError as error:
        why = WhyNotRun.TEMPLATE
        refused = NotRun(why=why, reason=error.reason, remedy=error.remedy)
        return _none_of(item, refused, session)
    made = []
    for number in item.todo:
        with exclusive(project.cache / "measuring.lock", purpose="making trials"):
            if _made_meanwhile(item, number, store):
                continue
            made.append(_trial(item, number, parts, session, shared, store))
    return made


def _not_run(
    item: TrialItem,
    number: int,
    why: NotRun,
    store: Store[TrialRecord],
) -> TrialRecord:
    """Say it in a record; once, however often it is found."""
    made = not_run(item, number, why)
    known = latest_trials(item.cell, item.digest, store).get(number)
    if known is None or known.result.outcome != why:
        store.append(made)
    return made


def _made_meanwhile(item: TrialItem, number: int, store: Store[TrialRecord]) -> bool:
    """Whether another harness made this trial while we waited."""
    known = latest_trials(item.cell, item.digest, store).get(number)
    if known is None or isinstance(known.result.outcome, NotRun):
        return False
    return known.measured_at not in item.known


def _trial(
    item: TrialItem,
    number: int,
    parts: AgentParts,
    session: Session,
    shared: Services | None,
    store: Store[TrialRecord],
) -> TrialRecord:
    """One trial, with another attempt where something else than the model failed."""
    made = _once(item, number, parts, session, shared, store)
    if isinstance(made.result.outcome, Broken):
        say("another attempt at it")
        made = _once(item, number, parts, session, shared, store)
    return made


def _once(
    item: TrialItem,
    number: int,
    parts: AgentParts,
    session: Session,
    shared: Services | None,
    store: Store[TrialRecord],
) -> TrialRecord:
    label = f"{item.cell.id} #{number}"
    say(f"trial {label}")
    made = recorded_attempt(item, number, parts, session.project, shared, store)
    took = duration_text(made.result.seconds)
    say(f"trial {label}: {describe(made.result.outcome)} ({took})")
    return made


def recorded_attempt(
    item: TrialItem,
    number: int,
    parts: AgentParts,
    project: Project,
    shared: Services | None,
    store: Store[TrialRecord],
) -> TrialRecord:
    """One attempt, on disk before this returns."""
    trajectory = new_trajectory(item, number)
    try:
        made = attempt(item, number, parts, project, shared, trajectory=trajectory)
        store.append(made)
    except UnwrittenError:  # the record is kept aside, so is what it tells of
        raise
    except BaseException:  # Ctrl-C too: nothing stays that no record tells of
        if not _is_told(trajectory, item, store):
            shutil.rmtree(folder_of(trajectory, project), ignore_errors=True)
        raise
    return made


def _is_told(trajectory: str, item: TrialItem, store: Store[TrialRecord]) -> bool:
    """Whether a record had reached the disk before its writing was broken off."""
    records = store.read(host_slug=this_host().slug, record_id=item.cell.id)
    return any(one.served and one.served.trajectory == trajectory for one in records)


def describe(outcome: TrialOutcome) -> str:
    """What came of a trial, in a few words for whoever waits."""
    match outcome:
        case Correct():
            return f"correct on turn {outcome.turn}"
        case Incorrect():
            return f"not correct after {outcome.turns} turns"
        case Undecided():
            return f"undecided on turn {outcome.turn}: something could not be judged"
        case Broken():
            return f"broken on turn {outcome.turn}, not scored: {cause_text(outcome.cause)}"
        case NotRun():
            return f"not run ({outcome.why}): {outcome.reason}; {outcome.remedy}"
        case _:
            assert_never(outcome)
