"""`invoke regrade`: archived work is judged again with today's checks, without a model.

The new verdict is a record of its own beside the old one, with the version of the checks
that gave it; tables show the newest. What the archive lacks for a check is not decided.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from llamatrix import __version__
from llamatrix.clock import utc_now
from llamatrix.commands.agent import describe
from llamatrix.commands.flags import RegradeFlags
from llamatrix.commands.report_view import finished_trials, load_view
from llamatrix.commands.task_cases import ExecutionEnvironments
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
    Correct,
    Incorrect,
    TrialOutcome,
    TurnResult,
    Undecided,
)


def regrade(flags: RegradeFlags) -> str:
    """Judge again what other checks judged; return a table of old and new verdicts."""
    view = load_view()
    chosen = finished_trials(view, profile=flags.profile, cells=flags.cells)
    store = Store(reports=view.project.reports, kind=AGENT)
    rows = []
    with ExecutionEnvironments.opened(fetch=True) as executions:
        for record in chosen:
            label = f"{record.cell.id} #{record.trial}"
            if record.check_version == check_version(record.cell.task):
                say(f"{label}: skipped, today's checks judged it")
                continue
            served = record.served
            host = view.project.records / record.host.slug
            folder = host / served.trajectory if served else host
            if not (folder / TRAJECTORY).is_file():
                say(f"{label}: skipped, its archive is no longer there")
                continue
            say(f"{label}: judging {len(record.result.turns)} turns")
            new = _regraded(record, folder, executions)
            store.append(new)
            rows.append(
                (
                    *(record.cell.id, str(record.trial)),
                    *(describe(record.result.outcome), record.check_version),
                    *(describe(new.result.outcome), new.check_version),
                )
            )
    header = ("cell", "trial", "was", "by checks", "is", "by checks")
    return markdown(Table(caption="Judged again", columns=header, rows=tuple(rows)))


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
            requests = folder / REQUESTS
            with_log = msgspec.structs.replace(
                execution,
                agents_requests=str(requests)
                if requests.is_file()
                else execution.agents_requests,
            )
            judgement = _judged_archive(record, workspace, transcript, with_log)
        turns.append(msgspec.structs.replace(turn, judgement=judgement))
        if judgement.verdict is not Verdict.FAILED:
            break  # with these checks the trial would have ended here
    result = msgspec.structs.replace(
        record.result, turns=tuple(turns), outcome=outcome_of(turns)
    )
    return msgspec.structs.replace(
        record,
        result=result,
        check_version=check_version(record.cell.task),
        measured_at=utc_now(),
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
    judgement = judge(task, workspace, transcript=transcript, execution=execution)
    lacking = dict(_lacking(workspace, execution))
    findings = tuple(
        Finding(
            check=each.check, state=State.NOT_APPLICABLE, reason=lacking[each.check]
        )
        if each.check in lacking and each.state is State.PASSED
        else each
        for each in judgement.findings
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
