"""`invoke agent`: make the trials that are due; each is on disk before the next."""

import os
import shutil
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import assert_never

from llamatrix.agents.turn_outcome import NotRun, WhyNotRun
from llamatrix.commands.bench import NOT_ALL_NUMBERS
from llamatrix.commands.flags import AgentFlags
from llamatrix.commands.meanwhile import fetch_for_trials
from llamatrix.commands.pending import CellStatus, latest_trials, load_pending
from llamatrix.commands.plan import plan_text
from llamatrix.commands.tabulate import tables_of
from llamatrix.commands.trial_attempt import attempt, folder_of, new_trajectory, not_run
from llamatrix.commands.trial_parts import (
    AgentParts,
    TemplateRefusedError,
    provide_agent_parts,
)
from llamatrix.config.agent_cell import AgentCell
from llamatrix.config.context import Context
from llamatrix.config.matrix import Measurement, Network
from llamatrix.host import this_host
from llamatrix.measuring import measuring
from llamatrix.progress import say
from llamatrix.project import Project
from llamatrix.provision.build import provide_build
from llamatrix.provision.hardware import require_device
from llamatrix.provision.python import provide_wheels
from llamatrix.records.store import Store, UnwrittenError
from llamatrix.records.trial_record import AGENT, TrialRecord
from llamatrix.report.views.troubles import cause_text
from llamatrix.trials.requirements import unmet
from llamatrix.trials.stubs.serving import Services, services
from llamatrix.trials.stubs.wheel_index import LOCKED
from llamatrix.trials.trial_result import (
    Broken,
    Correct,
    Incorrect,
    TrialOutcome,
    Undecided,
)
from llamatrix.units import duration_text

Status = CellStatus[AgentCell]


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialTally:
    """What a run did, counted in trials."""

    reused: int = 0
    made: int = 0
    broken: int = 0
    not_run: int = 0
    unscored: int = 0
    """Undecided ones, and reused ones that are neither passed nor failed."""
    unscripted: int = 0
    """Broken and unscored ones in which a model spoke for itself."""

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


def agent(flags: AgentFlags) -> int:
    """Make the trials and print the tables of these cells; return the exit code."""
    pending = load_pending(flags, kinds=[Measurement.AGENT])
    if flags.dry_run:
        print(plan_text(pending))
        return 0
    tally = make_trials(
        pending.trials, pending.context, any_template=flags.any_template
    )
    print(tables_of(pending), end="")
    return NOT_ALL_NUMBERS if tally.without_number else 0


def make_trials(
    statuses: Sequence[Status],
    context: Context,
    *,
    any_template: bool = False,
    store: Store[TrialRecord] | None = None,
) -> TrialTally:
    """Make the trials that the cells lack, and say what was done.

    They go to the store of the context's project where none is given.
    """
    begin = time.monotonic()
    due = [status for status in statuses if status.due]
    store = store or Store(reports=context.project.reports, kind=AGENT)
    if due:
        store.require_room(this_host().slug)
    made: list[TrialRecord] = []
    ready: list[Status] = []
    for status in due:
        if why := unmet(status.cell, context.project.cache, os.environ):
            made += _record_not_run(status, why, store)
        else:
            ready.append(status)
    with ExitStack() as stack:
        cells = [status.cell for status in ready]
        for cell in cells:
            if not cell.endpoint:
                require_device(cell.build_key, cell.build)
                meanwhile = partial(fetch_for_trials, cells, context)
                provide_build(cell, context.project.cache, meanwhile=meanwhile)
        shared = shared_services(cells, context.project, stack)
        for status in ready:
            made += _make_cell(
                status, context, shared, store, any_template=any_template
            )
    outcomes = [record.result.outcome for record in made]
    elsewhere = sum(len(status.due) for status in due) - len(made)
    tally = TrialTally(
        reused=sum(status.reused for status in statuses) + elsewhere,
        made=sum(not isinstance(outcome, NotRun) for outcome in outcomes),
        broken=sum(isinstance(outcome, Broken) for outcome in outcomes),
        not_run=sum(isinstance(outcome, NotRun) for outcome in outcomes),
        unscored=sum(status.reused_without_number for status in statuses)
        + sum(isinstance(outcome, Undecided) for outcome in outcomes),
        unscripted=sum(
            status.reused_without_number
            for status in statuses
            if not status.cell.scripted
        )
        + sum(
            isinstance(record.result.outcome, Broken | Undecided)
            and record.cell.script is None
            for record in made
        ),
    )
    say(f"{tally.summary} ({duration_text(time.monotonic() - begin)})")
    return tally


def shared_services(
    cells: Sequence[AgentCell], project: Project, stack: ExitStack
) -> Services | None:
    """What hermetic trials share, served until `stack` ends; None where none is."""
    if all(cell.agent.network is Network.ONLINE for cell in cells):
        return None
    wheels = provide_wheels(LOCKED, project.cache)
    log = project.logs / "services.jsonl"
    return stack.enter_context(services(wheels=wheels, log=log))


def _record_not_run(
    status: Status, why: NotRun, store: Store[TrialRecord]
) -> list[TrialRecord]:
    """Record why the cell's trials cannot be made; once, however often it is found."""
    say(f"{status.cell.id}: {describe(why)}")
    records = [not_run(status, due.number, why) for due in status.due]
    for record in records:
        known = latest_trials(status.cell, status.digest, store).get(record.trial)
        if known is None or known.result.outcome != why:
            store.append(record)
    return records


def _make_cell(
    status: Status,
    context: Context,
    shared: Services | None,
    store: Store[TrialRecord],
    *,
    any_template: bool,
) -> list[TrialRecord]:
    """The due trials of one cell, with a second attempt where not the model failed."""
    project = context.project
    try:
        parts = provide_agent_parts(status.cell, context, any_template=any_template)
    except TemplateRefusedError as error:
        why = WhyNotRun.TEMPLATE
        refused = NotRun(why=why, reason=error.reason, remedy=error.remedy)
        return _record_not_run(status, refused, store)
    made = []
    for due in status.due:
        with measuring(purpose="making trials"):
            known = latest_trials(status.cell, status.digest, store).get(due.number)
            if (
                known
                and not isinstance(known.result.outcome, NotRun)
                and known.measured_at not in status.written_at
            ):
                continue  # another process made it while we waited
            label = f"trial {status.cell.id} #{due.number}"
            say(label)
            record = recorded_attempt(status, due.number, parts, project, shared, store)
            _say_outcome(label, record)
            if isinstance(record.result.outcome, Broken):
                say(f"{label}: second attempt")
                record = recorded_attempt(
                    status, due.number, parts, project, shared, store
                )
                _say_outcome(label, record)
            made.append(record)
    return made


def _say_outcome(label: str, record: TrialRecord) -> None:
    took = duration_text(record.result.seconds)
    say(f"{label}: {describe(record.result.outcome)} ({took})")


def recorded_attempt(
    status: Status,
    number: int,
    parts: AgentParts,
    project: Project,
    shared: Services | None,
    store: Store[TrialRecord],
) -> TrialRecord:
    """One attempt, on disk before this returns."""
    trajectory = new_trajectory(status, number)
    try:
        record = attempt(status, number, parts, project, shared, trajectory=trajectory)
        store.append(record)
    except UnwrittenError:  # the record is kept aside, and so is its trajectory
        raise
    except BaseException:  # Ctrl-C too: no trajectory stays without its record
        records = store.read(host_slug=this_host().slug, record_id=status.cell.id)
        if not any(
            record.served and record.served.trajectory == trajectory
            for record in records
        ):
            shutil.rmtree(folder_of(trajectory, project), ignore_errors=True)
        raise
    return record


def describe(outcome: TrialOutcome) -> str:
    """The outcome of a trial in a few words, for progress lines."""
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
