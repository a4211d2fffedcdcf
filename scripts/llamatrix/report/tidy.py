"""Samples, trials and turns as tidy rows: one for each, raw and unrounded.

`reports/README.md` says what each column means.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator

import msgspec

from llamatrix.measure.energy import energy_of
from llamatrix.records.speed_record import SpeedRecord
from llamatrix.records.trial_record import TrialRecord
from llamatrix.report.metrics import (
    METRICS,
    cards_of,
    memory_bytes,
    on_a_card,
    trial_energy,
)
from llamatrix.report.our_conditions import after
from llamatrix.report.render.rows import Rows
from llamatrix.report.speed import Group, outcome_word
from llamatrix.report.trials import TrialGroup, outcome_tag, weights_kind
from llamatrix.report.views.cards import peak_memory, sample_of
from llamatrix.trials.trial_result import Correct, TurnResult

SPEED_HEADER = (
    *("host", "weights", "model", "quant", "pin", "commit", "build", "sweep"),
    *("cache_type_k", "cache_type_v", "gpu"),
    *("test", "n_prompt", "n_gen", "n_depth", "concurrency", "repeat", "outcome"),
    *("joules_per_token", "memory_bytes", "load_percent"),
    *("sample", "phase", "tokens_per_second", "nanoseconds"),
    *("measured_at", "digest", "disturbed", "unstable"),
)
_COLUMNS = tuple(metric for metric in METRICS if metric.column)
_SETUP = (
    *("host", "weights", "model", "quant", "pin", "commit", "build", "agent"),
    *("agent_kind", "agent_version", "context7", "network", "task", "script"),
    *("context_tokens", "trial"),
)
TRIAL_HEADER = (
    *(*_SETUP, "outcome", "turns"),
    *("correct_turn", "trial_s", "analysed_s", "harness_s", "memory_bytes", "memory"),
    *("joules", "joules_from", "measured_at", "digest"),
)
TURN_HEADER = (
    *_SETUP,
    *("turn", "turn_outcome", "verdict", "failed_checks", "turn_s", "first_call_s"),
    *("judged_s", *(metric.column for metric in _COLUMNS)),
    *("tool_uses", "failed_tool_uses", "disagreements", "measured_at", "digest"),
)
Row = tuple[object, ...]


def speed_rows(groups: Iterable[Group]) -> Rows:
    """All samples of all groups; a test without a number has one row with its outcome."""
    return SPEED_HEADER, [
        row
        for group in groups
        for record in group.records
        for row in _samples(
            record,
            unstable=group.results[record.cell.model_name, record.test].unstable,
        )
    ]


def trial_rows(groups: Iterable[TrialGroup]) -> Rows:
    """All trials, whatever their outcome."""
    records = (record for group in groups for record in group.records)
    return TRIAL_HEADER, [_trial(record) for record in records]


def turn_rows(groups: Iterable[TrialGroup]) -> Rows:
    """All turns of all trials; a trial that was not run has none."""
    return TURN_HEADER, [
        _turn(record, number, turn)
        for group in groups
        for record in group.records
        for number, turn in enumerate(record.result.turns, start=1)
    ]


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


def _samples(record: SpeedRecord, *, unstable: bool) -> Iterator[Row]:
    cell, test, argv = record.cell, record.test, record.process.argv
    sample = sample_of(record)
    energy = energy_of(record.telemetry, sample) if sample else None
    own, device = peak_memory([record])
    cache_types = (
        after(argv, f"-ct{part}") or after(argv, f"--cache-type-{part}") or ""
        for part in "kv"
    )
    head = (
        *(record.host.slug, record.weights.kind.value, cell.model_key, cell.quant),
        *(record.locked.marked(cell.pin), record.build.commit, cell.build, cell.sweep),
        *(*cache_types, gpu_text(record)),
        *(test.name, test.n_prompt, test.n_gen, test.n_depth, test.concurrency),
        *(record.repeat, outcome_word(record.outcome)),
        _blank(energy.joules_per_token if energy else None),
        _blank(own if own is not None else device),
        _blank(record.load.foreign_percent),
    )
    tail = (
        record.measured_at,
        cell.digest,
        record.disturbed,
        "yes" if unstable else "no",
    )
    if sample is None:
        yield (*head, "", "", "", "", *tail)
        return
    values = zip(sample.tokens_per_second, sample.nanoseconds, strict=True)
    for number, (tokens_per_second, nanoseconds) in enumerate(values, start=1):
        steady = number > sample.repetitions - len(sample.steady)
        phase = "steady" if steady else "first" if number == 1 else "warm-up"
        yield (*head, number, phase, tokens_per_second, nanoseconds, *tail)


def gpu_text(record: SpeedRecord) -> str:
    """The cards that a build for them used; empty for a build for the CPU."""
    cards = Counter(card.name for card in cards_of(record))
    return ", ".join(f"{n} × {one}" if n > 1 else one for one, n in cards.items())


def _setup(record: TrialRecord) -> Row:
    cell = record.cell
    return (
        *(record.host.slug, weights_kind(record).value, cell.model_key, cell.quant),
        *(record.locked.marked(cell.pin), record.build.commit, cell.build, cell.agent),
        *(record.agent_kind, record.agent_version, record.context7),
        *(cell.network.value, cell.task, cell.script or ""),
        *(cell.context_tokens, record.trial),
    )


def _trial(record: TrialRecord) -> Row:
    result, outcome = record.result, record.result.outcome
    energy = trial_energy(record)
    return (
        *(*_setup(record), outcome_tag(outcome), len(result.turns)),
        outcome.turn if isinstance(outcome, Correct) else "",
        *(result.seconds, result.analysed_s, result.harness_s),
        _blank(memory_bytes(record)),
        "vram" if on_a_card(record) else "rss",
        *((energy.joules, energy.source.value) if energy else ("", "")),
        *(record.measured_at, record.cell.digest),
    )


def _turn(record: TrialRecord, number: int, turn: TurnResult) -> Row:
    judgement = turn.judgement
    failed = " ".join(check.check for check in judgement.failed) if judgement else ""
    return (
        *(*_setup(record), number, outcome_tag(turn.outcome).replace(" ", "-")),
        *(judgement.verdict.value if judgement else "", failed, turn.seconds),
        *(_blank(turn.first_call_s), turn.judged_s),
        *(_blank(metric.of_turn(record.result, turn)) for metric in _COLUMNS),
        *(turn.tool_uses, turn.failed_tool_uses, len(turn.disagreements)),
        *(record.measured_at, record.cell.digest),
    )


def _blank(value: float | None) -> float | str:
    return "" if value is None else value
