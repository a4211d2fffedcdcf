"""What went wrong in trials, and what is doubtful of them: nothing is left untold."""

from collections.abc import Iterator, Mapping

from llamatrix.agents.turn_outcome import (
    AgentFailed,
    AgentHung,
    AgentKilled,
    AskedPermission,
    CompactedForEver,
    EndpointDied,
    EndpointDown,
    EndpointFailed,
    EndpointStalled,
    JudgingFailed,
    NotRun,
    SandboxLost,
    ToolsMissing,
    TurnOutcome,
)
from llamatrix.reason import first_error
from llamatrix.records.trial_record import TemplateFacts, TrialRecord
from llamatrix.report.table import Column, Row, Table, count, number, numbers
from llamatrix.report.trials import TrialGroup, Trials, prompt_title
from llamatrix.trials.checks.finding import Finding, State
from llamatrix.trials.trial_result import Broken, TurnResult
from llamatrix.units import duration_text

_LONGEST = 200
"""Characters of a sentence out of a record; the record has all of it."""


def trouble_tables(group: TrialGroup) -> tuple[Table, ...]:
    """Those with rows."""
    every = (
        _not_scored(group),
        _checks(group),
        _disagreements(group),
        _remarks(group),
        _templates(group),
    )
    return tuple(table for table in every if table.rows)


def _not_scored(group: TrialGroup) -> Table:
    rows: list[Row] = []
    for record in group.records:
        match record.result.outcome:
            case Broken(turn=turn, cause=cause):
                cells = ("broken", f"turn {turn}: {cause_text(cause)}", _AGAIN)
            case NotRun(why=why, reason=reason, remedy=remedy):
                cells = ("not run", f"{why}: {_line(reason)}", _line(remedy))
            case _:
                continue
        rows.append((*_head(group, record), *cells))
    return Table(
        caption=group.caption("Trials that could not be scored"),
        columns=(*_HEAD, "What", _wide("Reason"), _wide("Remedy")),
        rows=tuple(rows),
    )


_AGAIN = "run it again: it says nothing of the model"


def cause_text(cause: TurnOutcome) -> str:
    match cause:
        case EndpointDown(error=text) | EndpointDied(error=text):
            pass
        case JudgingFailed(error=text):
            pass
        case EndpointFailed(status=status, error=error):
            text = f"status {status}: {error}" if status else error
        case EndpointStalled(silent_s=silent_s):
            text = f"silent for {duration_text(silent_s)}"
        case AgentHung() | AgentKilled() | AgentFailed() | AskedPermission():
            text = _agent_text(cause)
        case CompactedForEver():
            text = (
                f"{cause.compactions} compactions, and each prompt after one needs "
                f"{cause.needed_tokens} tokens; ctx_size less output_tokens leaves "
                f"{cause.room_tokens}: the set-up's fault"
            )
        case ToolsMissing(tools=tools):
            text = ", ".join(tools)
        case SandboxLost(reason=reason) | NotRun(reason=reason):
            text = reason
        case _:
            text = ""
    return _line(f"{_word(cause)}: {text}" if text else _word(cause))


def _agent_text(
    cause: AgentHung | AgentKilled | AgentFailed | AskedPermission,
) -> str:
    match cause:
        case AgentHung(silent_s=silent_s, error=error):
            parts = (f"silent for {duration_text(silent_s)}", error)
        case AgentKilled(signal=signal, error=error):
            parts = (f"signal {signal}", error)
        case AgentFailed(exit_code=code):
            parts = (f"exit code {code}", _failure_text(cause))
        case _:
            requests = (line for line in cause.tail if "permission" in line)
            parts = ("", next(requests, ""))
    return ": ".join(filter(None, parts))


def _failure_text(cause: AgentFailed) -> str:
    if message := " ".join(cause.errors) or first_error(cause.tail):
        return message
    finish = f" (finish `{cause.finish}`)" if cause.finish else ""
    return f"the agent ended without a last word{finish} and without an error"


def _word(outcome: TurnOutcome) -> str:
    """Its name in the record, as words: `endpoint died`."""
    return str(outcome.__struct_config__.tag).replace("-", " ")


def _checks(group: TrialGroup) -> Table:
    rows: list[Row] = []
    for head, trials in group.by_cell():
        for check, turns in _by_check(trials).items():
            failed = [turn for turn in turns if turn.state is State.FAILED]
            unknown = [turn for turn in turns if turn.state is State.NOT_APPLICABLE]
            if not failed and not unknown:
                continue
            rows.append(
                (
                    *(*head, check, count(len(failed)), count(len(unknown))),
                    count(len(turns)),
                    count(_failed_at_the_end(trials, check)),
                    _line((failed or unknown)[-1].reason),
                )
            )
    return Table(
        caption=group.caption("Checks that failed"),
        columns=(
            *("Model", "Prompt", "Check"),
            *numbers("Failed", "Could not judge", "of turns", "Trials that ended so"),
            _wide("Last reason"),
        ),
        rows=tuple(rows),
    )


def _by_check(trials: Trials) -> Mapping[str, list[Finding]]:
    """Every finding of every judged turn, in the task's order of checks."""
    findings: dict[str, list[Finding]] = {}
    for record in trials.records:
        for turn in record.result.turns:
            for finding in turn.judgement.findings if turn.judgement else ():
                findings.setdefault(finding.check, []).append(finding)
    return findings


def _failed_at_the_end(trials: Trials, check: str) -> int:
    ends = (
        record.result.turns[-1] for record in trials.finished if record.result.turns
    )
    return sum(
        check in {finding.check for finding in turn.judgement.failed}
        for turn in ends
        if turn.judgement
    )


def _disagreements(group: TrialGroup) -> Table:
    rows: list[Row] = [
        (*_head(group, record), count(place), _line(text))
        for record in group.records
        for place, turn in enumerate(record.result.turns, start=1)
        for text in turn.disagreements
    ]
    return Table(
        caption=group.caption("Where tap and /metrics differ"),
        columns=(*_HEAD, *numbers("Turn"), _wide("Difference")),
        rows=tuple(rows),
    )


def _remarks(group: TrialGroup) -> Table:
    rows: list[Row] = [
        (*_head(group, record), what, _line(text))
        for record in group.records
        for what, text in _of_trial(record)
    ]
    return Table(
        caption=group.caption("Remarks"),
        columns=(*_HEAD, "What", _wide("Text")),
        rows=tuple(rows),
    )


def _of_trial(record: TrialRecord) -> Iterator[tuple[str, str]]:
    for text in record.result.refusals:
        yield "refused by the real server", text
    for text in record.result.unread:
        yield "could not be read", text
    for text in record.served.spilled if record.served else ():
        yield "outside the card", text
    for text in record.served.telemetry.disturbances if record.served else ():
        yield "disturbed", text
    for place, turn in enumerate(record.result.turns, start=1):
        for what, text in _of_turn(turn):
            yield f"turn {place}: {what}", text


def _of_turn(turn: TurnResult) -> Iterator[tuple[str, str]]:
    totals = turn.totals
    if totals.failed_calls:
        yield "failed calls", f"{totals.failed_calls} of {totals.api_calls}"
    if totals.left_calls:
        yield "calls that the agent left", f"{totals.left_calls} of {totals.api_calls}"
    if totals.other_calls:
        yield (
            "calls that are not the agent's",
            f"{totals.other_calls}, of its programs or outside the model API; in no sum",
        )
    if totals.untimed_calls:
        yield (
            "calls without timings",
            f"{totals.untimed_calls} of {totals.api_calls}; their tokens are in no sum",
        )
    if totals.compaction_calls:
        yield "compacted", f"{totals.compaction_calls} calls"
    if turn.failed_tool_uses:
        yield "failed tools", f"{turn.failed_tool_uses} of {turn.tool_uses}"
    for text in turn.left_running:
        yield "left running", text
    for text in turn.left_out:
        yield "left out of the workspace's copy", text


def _templates(group: TrialGroup) -> Table:
    rows: dict[tuple[str, TemplateFacts], list[TrialRecord]] = {}
    for record in group.records:
        if record.served and record.served.template:
            key = (record.cell.model_name, record.served.template)
            rows.setdefault(key, []).append(record)
    return Table(
        caption=group.caption("Template conformance"),
        columns=(
            *("Model", "Template", "sha256"),
            *numbers("Cases"),
            _wide("Failed"),
            "Essentials passed",
            *numbers("Trials"),
        ),
        rows=tuple(
            (
                group.shown_name(model),
                *(facts.template, facts.template_sha256[:12], count(facts.cases)),
                ", ".join(facts.failed) or "none",
                "yes" if facts.essentials_passed else "no",
                number(len(records), str, records=tuple(records)),
            )
            for (model, facts), records in rows.items()
        ),
    )


_HEAD: tuple[Column | str, ...] = ("Model", "Prompt", *numbers("Trial"))


def _head(group: TrialGroup, record: TrialRecord) -> Row:
    model = group.shown_name(record.cell.model_name)
    trial = number(record.trial, str, records=(record,))
    return model, prompt_title(record.cell.task), trial


def _wide(text: str) -> Column:
    return Column(text, wide=True)


def _line(text: str) -> str:
    """In one line, and not too long for a table."""
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"
