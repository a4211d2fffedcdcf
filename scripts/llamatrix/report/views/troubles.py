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
from llamatrix.report.trials import TrialGroup, Trials, outcome_tag, prompt_title
from llamatrix.trials.checks.finding import Finding, State
from llamatrix.trials.trial_result import Broken, TurnResult
from llamatrix.units import duration_text

_LONGEST = 200
"""Characters of a sentence out of a record; the record has all of it."""


def trouble_tables(group: TrialGroup) -> tuple[Table, ...]:
    every = (
        *(_not_scored(group), _checks(group), _disagreements(group)),
        *(_remarks(group), _templates(group)),
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
        group.caption("Trials that could not be scored"),
        (*_HEAD, "What", _wide("Reason"), _wide("Remedy")),
        rows,
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
    word = outcome_tag(cause)
    return _line(f"{word}: {text}" if text else word)


def _agent_text(
    cause: AgentHung | AgentKilled | AgentFailed | AskedPermission,
) -> str:
    match cause:
        case AgentHung(silent_s=silent_s, error=error):
            parts = (f"silent for {duration_text(silent_s)}", error)
        case AgentKilled(signal=signal, error=error):
            parts = (f"signal {signal}", error)
        case AgentFailed(exit_code=code):
            text = " ".join(cause.errors) or first_error(cause.tail)
            if not text:
                finish = f" (finish `{cause.finish}`)" if cause.finish else ""
                text = (
                    f"the agent ended without a last word{finish} and without an error"
                )
            parts = (f"exit code {code}", text)
        case _:
            requests = (line for line in cause.tail if "permission" in line)
            parts = ("", next(requests, ""))
    return ": ".join(filter(None, parts))


def _checks(group: TrialGroup) -> Table:
    rows: list[Row] = []
    for head, trials in group.by_cell():
        ends = [
            record.result.turns[-1].judgement
            for record in trials.finished
            if record.result.turns
        ]
        for check, turns in _by_check(trials).items():
            failed = [turn for turn in turns if turn.state is State.FAILED]
            unknown = [turn for turn in turns if turn.state is State.NOT_APPLICABLE]
            if not failed and not unknown:
                continue
            at_the_end = sum(
                any(finding.check == check for finding in end.failed)
                for end in ends
                if end
            )
            counts = (len(failed), len(unknown), len(turns), at_the_end)
            reason = _line((failed or unknown)[-1].reason)
            rows.append((*head, check, *map(count, counts), reason))
    return Table(
        group.caption("Checks that failed"),
        (
            *("Model", "Prompt", "Check"),
            *numbers("Failed", "Could not judge", "of turns", "Trials that ended so"),
            _wide("Last reason"),
        ),
        rows,
    )


def _by_check(trials: Trials) -> Mapping[str, list[Finding]]:
    """Every finding of every judged turn, in the task's order of checks."""
    findings: dict[str, list[Finding]] = {}
    for record in trials.records:
        for turn in record.result.turns:
            for finding in turn.judgement.findings if turn.judgement else ():
                findings.setdefault(finding.check, []).append(finding)
    return findings


def _disagreements(group: TrialGroup) -> Table:
    rows = [
        (*_head(group, record), count(place), _line(text))
        for record in group.records
        for place, turn in enumerate(record.result.turns, start=1)
        for text in turn.disagreements
    ]
    return Table(
        group.caption("Where tap and /metrics differ"),
        (*_HEAD, *numbers("Turn"), _wide("Difference")),
        rows,
    )


def _remarks(group: TrialGroup) -> Table:
    rows = [
        (*_head(group, record), what, _line(text))
        for record in group.records
        for what, text in _of_trial(record)
    ]
    return Table(group.caption("Remarks"), (*_HEAD, "What", _wide("Text")), rows)


def _of_trial(record: TrialRecord) -> Iterator[tuple[str, str]]:
    served = record.served
    kinds = {
        "refused by the real server": record.result.refusals,
        "could not be read": record.result.unread,
        "outside the card": served.spilled if served else (),
        "disturbed": served.telemetry.disturbances if served else (),
    }
    for what, texts in kinds.items():
        yield from ((what, text) for text in texts)
    for place, turn in enumerate(record.result.turns, start=1):
        for what, text in _of_turn(turn):
            yield f"turn {place}: {what}", text


def _of_turn(turn: TurnResult) -> Iterator[tuple[str, str]]:
    totals = turn.totals
    of_calls = f" of {totals.api_calls}"
    notes = (
        (totals.failed_calls, "failed calls", of_calls),
        (totals.left_calls, "calls that the agent left", of_calls),
        (
            *(totals.other_calls, "calls that are not the agent's"),
            ", of its programs or outside the model API; in no sum",
        ),
        (
            *(totals.untimed_calls, "calls without timings"),
            f"{of_calls}; their tokens are in no sum",
        ),
        (totals.compaction_calls, "compacted", " calls"),
        (turn.failed_tool_uses, "failed tools", f" of {turn.tool_uses}"),
    )
    for times, what, text in notes:
        if times:
            yield what, f"{times}{text}"
    yield from (("left running", text) for text in turn.left_running)
    yield from (("left out of the workspace's copy", text) for text in turn.left_out)


def _templates(group: TrialGroup) -> Table:
    rows: dict[tuple[str, TemplateFacts], list[TrialRecord]] = {}
    for record in group.records:
        if record.served and record.served.template:
            key = (record.cell.model_name, record.served.template)
            rows.setdefault(key, []).append(record)
    cells = [
        (
            group.shown_name(model),
            *(facts.template, facts.template_sha256[:12], count(facts.cases)),
            ", ".join(facts.failed) or "none",
            "yes" if facts.essentials_passed else "no",
            number(len(records), str, records=tuple(records)),
        )
        for (model, facts), records in rows.items()
    ]
    return Table(
        group.caption("Template conformance"),
        (
            *("Model", "Template", "sha256"),
            *numbers("Cases"),
            _wide("Failed"),
            "Essentials passed",
            *numbers("Trials"),
        ),
        cells,
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
