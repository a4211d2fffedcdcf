"""Samples and turns as tidy CSV and JSON: one row for each, raw and unrounded.

`reports/README.md` says what each column means.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence

import msgspec

from llamatrix.engines.outcome import Done
from llamatrix.records.speed_record import SpeedRecord
from llamatrix.records.trial_record import TrialRecord
from llamatrix.report.metrics import METRICS, memory_bytes, on_a_card, trial_energy
from llamatrix.report.render.csv import rows_csv
from llamatrix.report.speed import Group, outcome_word
from llamatrix.report.trials import TrialGroup, weights_kind
from llamatrix.trials.trial_result import Correct, TrialOutcome, TrialResult, TurnResult

SPEED_HEADER = (
    *("host", "weights", "model", "pin", "commit", "build", "sweep", "test"),
    *("repeat", "outcome", "sample", "tokens_per_second", "nanoseconds"),
    *("measured_at", "digest", "steady", "disturbed", "unstable"),
)
_COLUMNS = tuple(metric for metric in METRICS if metric.column)
_OF_TURN = (
    *("turn", "turn_outcome", "verdict", "failed_checks", "turn_s", "first_call_s"),
    *("judged_s", *(metric.column for metric in _COLUMNS)),
    *("tool_uses", "failed_tool_uses", "disagreements"),
)
AGENT_HEADER = (
    *("host", "weights", "model", "pin", "commit", "build", "agent"),
    *("agent_kind", "agent_version", "context7", "network", "task", "script"),
    *("context_tokens", "trial", "outcome"),
    *("correct_turn", "trial_s", "analysed_s", "harness_s", "memory_bytes", "memory"),
    *("joules", "joules_from"),
    *(*_OF_TURN, "measured_at", "digest"),
)
Row = tuple[object, ...]


def speed_csv(groups: Iterable[Group]) -> str:
    """All samples of all groups; a test without a number has one row with its outcome."""
    return rows_csv(SPEED_HEADER, _speed_rows(groups))


def speed_json(groups: Iterable[Group]) -> str:
    """The same rows as an array of objects, one a line; null where CSV is empty."""
    return _json(SPEED_HEADER, _speed_rows(groups))


def agent_csv(groups: Iterable[TrialGroup]) -> str:
    """All turns of all trials; a trial without turns has one row with its outcome."""
    return rows_csv(AGENT_HEADER, _trial_rows(groups))


def agent_json(groups: Iterable[TrialGroup]) -> str:
    return _json(AGENT_HEADER, _trial_rows(groups))


def benchmark_action_json(groups: Iterable[Group], *, cells: Collection[str]) -> str:
    """Return steady speeds as input of github-action-benchmark, customBiggerIsBetter.

    An array of name, unit, value, range and extra. Names are stable across commits: cell,
    sweep and test. Tests without a number are left out.
    """
    entries = [
        {
            "name": f"{first.cell.id} {group.sweep} {test.name}",
            "unit": "tokens/s",
            "value": result.mean,
            "range": "" if result.between is None else f"± {result.between:.4g}",
            "extra": f"llama.cpp {first.build.commit}\nhost {group.host_slug}\n"
            f"{result.count} steady repetitions\n{' '.join(result.marks)}".rstrip(),
        }
        for group in groups
        for (_, test), result in group.results.items()
        for first in result.used[:1]
        if first.cell.id in cells and result.mean is not None
    ]
    return msgspec.json.format(msgspec.json.encode(entries)).decode() + "\n"


def _json(header: Sequence[str], rows: Iterable[Row]) -> str:
    lines = (
        msgspec.json.encode(
            {
                key: None if value == "" else value
                for key, value in zip(header, row, strict=True)
            }
        ).decode()
        for row in rows
    )
    return "[\n" + ",\n".join(lines) + "\n]\n"


def _speed_rows(groups: Iterable[Group]) -> Iterator[Row]:
    for group in groups:
        for record in group.records:
            result = group.results[record.cell.model_name, record.test]
            yield from _samples(record, unstable=_yes(result.unstable))


def _samples(record: SpeedRecord, *, unstable: str) -> Iterator[Row]:
    cell, pin = record.cell, record.locked.marked(record.cell.pin)
    head = (
        *(record.host.slug, record.weights.kind.value, cell.model_key, pin),
        *(record.build.commit, cell.build, cell.sweep, record.test.name),
        *(record.repeat, outcome_word(record.outcome)),
    )
    where = (record.measured_at, cell.digest)
    marks = (record.disturbed, unstable)
    if not isinstance(record.outcome, Done):
        yield (*head, "", "", "", *where, "", *marks)
        return
    sample = record.outcome.result
    samples = zip(sample.tokens_per_second, sample.nanoseconds, strict=True)
    for number, (tokens_per_second, nanoseconds) in enumerate(samples, start=1):
        steady = number > sample.repetitions - len(sample.steady)
        values = (number, tokens_per_second, nanoseconds)
        yield (*head, *values, *where, _yes(steady), *marks)


def _yes(condition: bool) -> str:  # noqa: FBT001
    return "yes" if condition else "no"


def _trial_rows(groups: Iterable[TrialGroup]) -> Iterator[Row]:
    for group in groups:
        for record in group.records:
            head, tail = _trial(record), (record.measured_at, record.cell.digest)
            for number, turn in enumerate(record.result.turns, start=1):
                yield (*head, *_turn(number, turn, record.result), *tail)
            if not record.result.turns:
                yield (*head, *[""] * len(_OF_TURN), *tail)


def _trial(record: TrialRecord) -> Row:
    cell, result, outcome = record.cell, record.result, record.result.outcome
    energy, pin = trial_energy(record), record.locked.marked(cell.pin)
    return (
        *(record.host.slug, weights_kind(record).value, cell.model_key, pin),
        *(record.build.commit, cell.build, cell.agent),
        *(record.agent_kind, record.agent_version, record.context7),
        *(cell.network.value, cell.task, cell.script or ""),
        *(cell.context_tokens, record.trial, _tag(outcome)),
        outcome.turn if isinstance(outcome, Correct) else "",
        *(result.seconds, result.analysed_s, result.harness_s),
        _blank(memory_bytes(record)),
        "vram" if on_a_card(record) else "rss",
        *((energy.joules, energy.source.value) if energy else ("", "")),
    )


def _turn(number: int, turn: TurnResult, result: TrialResult) -> Row:
    judgement = turn.judgement
    failed = " ".join(check.check for check in judgement.failed) if judgement else ""
    return (
        *(number, str(turn.outcome.__struct_config__.tag)),
        *(judgement.verdict.value if judgement else "", failed, turn.seconds),
        *(_blank(turn.first_call_s), turn.judged_s),
        *(_blank(metric.of_turn(result, turn)) for metric in _COLUMNS),
        *(turn.tool_uses, turn.failed_tool_uses, len(turn.disagreements)),
    )


def _tag(outcome: TrialOutcome) -> str:
    """`correct`, `incorrect`, `undecided`, `broken` or `not run`."""
    return str(outcome.__struct_config__.tag).replace("-", " ")


def _blank(value: float | None) -> float | str:
    return "" if value is None else value
