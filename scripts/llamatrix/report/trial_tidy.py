"""The trials as tidy CSV and JSON: one row for each turn, raw and unrounded.

`reports/README.md` says what each column means.
"""

from collections.abc import Iterable, Iterator

import msgspec

from llamatrix.proxy.totals import Totals
from llamatrix.records.trial_record import TrialRecord
from llamatrix.report.tables import csv_text
from llamatrix.report.trial_amounts import memory_bytes, on_a_card, trial_energy
from llamatrix.report.trials import TrialGroup, weights_kind
from llamatrix.trials.trial_result import (
    Broken,
    Correct,
    Incorrect,
    TrialOutcome,
    TurnResult,
    Undecided,
)

_SUMS = (
    *("api_calls", "title_calls", "compaction_calls", "subagent_calls"),
    *("failed_calls", "left_calls", "untimed_calls", "tool_calls"),
    *("prompt_tokens", "cached_tokens", "generated_tokens"),
    *("prompt_s", "generation_s"),
)
_OF_TURN = (
    *("turn", "turn_outcome", "verdict", "failed_checks", "turn_s", "first_call_s"),
    *("judged_s", *_SUMS, "tool_uses", "failed_tool_uses", "disagreements"),
)
HEADER = (
    *("host", "weights", "model", "pin", "commit", "build", "agent", "opencode"),
    *("context7", "network", "task", "script", "context_tokens", "trial", "outcome"),
    *("correct_turn", "trial_s", "analysed_s", "harness_s", "memory_bytes", "memory"),
    *("joules", "joules_from"),
    *(*_OF_TURN, "measured_at", "digest"),
)


def agent_csv(groups: Iterable[TrialGroup]) -> str:
    """All turns of all trials; a trial without turns has one row with its outcome."""
    return csv_text(HEADER, list(_all_rows(groups)))


def agent_json(groups: Iterable[TrialGroup]) -> str:
    """The same rows as an array of objects, one a line; null where CSV is empty."""
    lines = (
        msgspec.json.encode(
            {
                key: None if value == "" else value
                for key, value in zip(HEADER, row, strict=True)
            }
        ).decode()
        for row in _all_rows(groups)
    )
    return "[\n" + ",\n".join(lines) + "\n]\n"


def outcome_word(outcome: TrialOutcome) -> str:
    match outcome:
        case Correct():
            return "correct"
        case Incorrect():
            return "incorrect"
        case Undecided():
            return "undecided"
        case Broken():
            return "broken"
        case _:
            return "not run"


def _all_rows(groups: Iterable[TrialGroup]) -> Iterator[tuple[object, ...]]:
    for group in groups:
        for record in group.records:
            head, tail = _head(record), (record.measured_at, record.cell.digest)
            for number, turn in enumerate(record.result.turns, start=1):
                yield (*head, *_turn(number, turn), *tail)
            if not record.result.turns:
                yield (*head, *[""] * len(_OF_TURN), *tail)


def _head(record: TrialRecord) -> tuple[object, ...]:
    cell, result = record.cell, record.result
    outcome = result.outcome
    held, energy = memory_bytes(record), trial_energy(record)
    return (
        *(record.host.slug, weights_kind(record).value, cell.model_key, cell.pin),
        *(record.build.commit, cell.build, cell.agent, record.agent_version),
        *(record.context7, cell.network.value, cell.task, cell.script or ""),
        *(cell.context_tokens, record.trial, outcome_word(outcome)),
        outcome.turn if isinstance(outcome, Correct) else "",
        *(result.seconds, result.analysed_s, result.harness_s),
        "" if held is None else held,
        "vram" if on_a_card(record) else "rss",
        *((energy.joules, energy.source.value) if energy else ("", "")),
    )


def _turn(number: int, turn: TurnResult) -> tuple[object, ...]:
    judgement = turn.judgement
    failed = " ".join(one.check for one in judgement.failed) if judgement else ""
    return (
        *(number, str(turn.outcome.__struct_config__.tag)),
        *(judgement.verdict.value if judgement else "", failed, turn.seconds),
        *("" if turn.first_call_s is None else turn.first_call_s, turn.judged_s),
        *_sums(turn.totals),
        *(turn.tool_uses, turn.failed_tool_uses, len(turn.disagreements)),
    )


def _sums(totals: Totals) -> tuple[object, ...]:
    return tuple(getattr(totals, name) for name in _SUMS)
