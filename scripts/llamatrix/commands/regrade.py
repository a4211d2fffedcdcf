"""`invoke regrade`: archived work is judged again with today's checks, without a token.

The new verdict is a record of its own beside the old one, with the version of the checks
that gave it; tables show the newest. What the archive lacks for a check is not decided.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path

import msgspec

from llamatrix import __version__
from llamatrix.agents.turn_outcome import NotRun
from llamatrix.commands.flags import RegradeFlags
from llamatrix.commands.report_view import View, load_view, trials_belong
from llamatrix.commands.task_cases import ExecutionEnvironments
from llamatrix.config.expand import select_profile
from llamatrix.errors import MeasureError
from llamatrix.progress import say
from llamatrix.records.store import Store
from llamatrix.records.trial_record import AGENT, TrialRecord
from llamatrix.redaction import GONE
from llamatrix.report.render.markdown import markdown
from llamatrix.report.table import Table
from llamatrix.scratch import scratch_folder
from llamatrix.trials.checks.execution_environment import ExecutionEnvironment
from llamatrix.trials.checks.finding import (
    Finding,
    Judgement,
    State,
    Verdict,
    verdict_of,
)
from llamatrix.trials.checks.judge import judge
from llamatrix.trials.checks.sources import files
from llamatrix.trials.checks.task import check_version, load_task
from llamatrix.trials.trial import REQUESTS, TRAJECTORY
from llamatrix.trials.trial_result import (
    Broken,
    Correct,
    Incorrect,
    TrialOutcome,
    TurnResult,
    Undecided,
)


def regrade(flags: RegradeFlags) -> str:
    """Judge again what other checks judged; return a table of old and new verdicts."""
    view = load_view()
    chosen = _chosen(view, flags)
    store = Store(reports=view.project.reports, kind=AGENT)
    rows = []
    with ExecutionEnvironments.opened(fetch=True) as executions:
        for record in chosen:
            label = f"{record.cell.id} #{record.trial}"
            if record.check_version == check_version(record.cell.task):
                say(f"{label}: passed over, today's checks judged it")
                continue
            folder = _folder(record, view.project.records)
            if folder is None:
                say(f"{label}: passed over, its archive is no longer there")
                continue
            say(f"{label}: judging {len(record.result.turns)} turns")
            new = _regraded(record, folder, executions)
            store.append(new)
            rows.append(
                (
                    *(record.cell.id, str(record.trial)),
                    *(_told(record.result.outcome), record.check_version),
                    *(_told(new.result.outcome), new.check_version),
                )
            )
    header = ("cell", "trial", "was", "by checks", "is", "by checks")
    return markdown(Table(caption="Judged again", columns=header, rows=tuple(rows)))


def _chosen(view: View, flags: RegradeFlags) -> list[TrialRecord]:
    if flags.profile:
        select_profile(view.matrix, flags.profile)
    found = [
        record
        for group in view.trials
        if not flags.profile or trials_belong(group, view.matrix, flags.profile)
        for trials in group.trials.values()
        for record in trials.records
        if fnmatchcase(record.cell.id, flags.cells or "*")
        and not isinstance(record.result.outcome, Broken | NotRun)
    ]
    if not found:
        asked = " of these cells" if flags.cells or flags.profile else ""
        raise MeasureError(
            f"{view.project.records}: no judged trial{asked} is recorded; `invoke "
            "agent` makes some, `invoke plan` shows the cells"
        )
    return found


def _folder(record: TrialRecord, records: Path) -> Path | None:
    if record.served is None:
        return None
    folder = records / record.host.slug / record.served.trajectory
    return folder if (folder / TRAJECTORY).is_file() else None


def _regraded(
    record: TrialRecord, folder: Path, executions: ExecutionEnvironments
) -> TrialRecord:
    turns: list[TurnResult] = []
    for number, turn in enumerate(record.result.turns, 1):
        workspace = folder / f"turn-{number}" / "workspace"
        if turn.judgement is None or not workspace.is_dir():
            turns.append(turn)
            continue
        with (
            executions.for_task(load_task(record.cell.task)) as execution,
            _transcript(folder, record.result.turns, number) as transcript,
        ):
            found = _judged_archive(
                record, workspace, transcript, _with_log(execution, folder)
            )
        turns.append(msgspec.structs.replace(turn, judgement=found))
        if found.verdict is not Verdict.FAILED:
            break  # with these checks the trial would have ended here
    result = msgspec.structs.replace(
        record.result, turns=tuple(turns), outcome=outcome_of(turns)
    )
    return msgspec.structs.replace(
        record,
        result=result,
        check_version=check_version(record.cell.task),
        measured_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
        made_by=f"llamatrix {__version__}",
    )


def outcome_of(turns: Sequence[TurnResult]) -> TrialOutcome:
    """By the first turn that did not fail; a trial that ended early may never pass."""
    for number, turn in enumerate(turns, 1):
        verdict = turn.judgement.verdict if turn.judgement else Verdict.FAILED
        if verdict is Verdict.PASSED:
            return Correct(turn=number)
        if verdict is Verdict.UNDECIDED:
            return Undecided(turn=number)
    return Incorrect(turns=len(turns))


def _judged_archive(
    record: TrialRecord,
    workspace: Path,
    transcript: Path | None,
    execution: ExecutionEnvironment,
) -> Judgement:
    task = load_task(record.cell.task)
    found = judge(task, workspace, transcript=transcript, execution=execution)
    lacking = dict(_lacking(workspace, execution))
    findings = tuple(
        Finding(
            check=each.check, state=State.NOT_APPLICABLE, reason=lacking[each.check]
        )
        if each.check in lacking and each.state is State.PASSED
        else each
        for each in found.findings
    )
    return Judgement(task=task.id, verdict=verdict_of(findings), findings=findings)


def _lacking(
    workspace: Path, execution: ExecutionEnvironment
) -> Iterator[tuple[str, str]]:
    """Checks that cannot pass on an archive, and what it lacks for them."""
    if execution.agents_requests is None:
        reason = "The archive does not say which images the agent's session was served."
        yield "five-images", reason
    if any(
        GONE.encode() in path.read_bytes() for path in files(workspace, hidden=True)
    ):
        yield "no-key", "Keys were taken out of the archive."


def _with_log(execution: ExecutionEnvironment, folder: Path) -> ExecutionEnvironment:
    log = folder / REQUESTS
    if not log.is_file():
        return execution
    return msgspec.structs.replace(execution, agents_requests=str(log))


@contextmanager
def _transcript(
    folder: Path, turns: Sequence[TurnResult], number: int
) -> Iterator[Path | None]:
    """The tool calls up to a turn; None where the archive does not tell them apart."""
    whole = folder / TRAJECTORY
    if number == len(turns):
        yield whole
        return
    lines = whole.read_bytes().splitlines(keepends=True)
    if len(lines) != sum(turn.tool_uses for turn in turns):
        yield None
        return
    with scratch_folder("transcript") as aside:
        cut = aside / TRAJECTORY
        cut.write_bytes(b"".join(lines[: sum(t.tool_uses for t in turns[:number])]))
        yield cut


def _told(outcome: TrialOutcome) -> str:
    match outcome:
        case Correct(turn=turn):
            return f"correct on turn {turn}"
        case Incorrect(turns=turns):
            return f"not correct in {turns} turns"
        case Undecided(turn=turn):
            return f"undecided on turn {turn}"
        case _:
            return "broken"
