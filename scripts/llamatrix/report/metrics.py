"""What is counted and timed of a trial: one list that every table and export reads.

A metric is added to `METRICS` alone; its fields say where it appears.
"""

import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import msgspec

from llamatrix.config.matrix import Backend
from llamatrix.measure.energy import Energy, energy_of_all
from llamatrix.nvml import Gpu
from llamatrix.proxy.call import CallKind
from llamatrix.proxy.totals import Totals
from llamatrix.records.context_record import ContextRecord
from llamatrix.records.speed_record import SpeedRecord
from llamatrix.records.trial_record import TrialRecord
from llamatrix.reference.quantity import Quantity
from llamatrix.report.formats import number_text, seconds_text, size_text, tenths, whole
from llamatrix.report.table import Cell, Format, number
from llamatrix.report.trials import Trials
from llamatrix.trials.trial_result import TrialResult, TurnResult

Values = Sequence[float | None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Metric:
    name: str
    of: Callable[[TrialResult], Values]
    """All values of a trial, or of one turn of it; None where there is none."""
    unit: str = ""
    format: Format = number_text
    aggregate: Callable[[Sequence[float]], float] = statistics.median
    """Of all values of a trial, or of several."""
    row: int = 0
    """Its place in the tables of results; 0 for none."""
    column: str = ""
    """In `agent.csv`, which has a row for each turn; empty for none."""
    quantity: Quantity | None = None
    """The published quantity that it is compared with."""

    def values(self, trials: Trials) -> tuple[float, ...]:
        """One for each finished trial that has it, in their order."""
        values = (self.of_trial(record) for record in trials.finished)
        return tuple(value for value in values if value is not None)

    def of_trial(self, record: TrialRecord) -> float | None:
        return self._aggregated(self._of(record.result))

    def of_turn(self, result: TrialResult, turn: TurnResult) -> float | None:
        single = msgspec.structs.replace(result, turns=(turn,))
        return self._aggregated(self._of(single))

    def cell(self, trials: Trials | None) -> Cell:
        """The number, of several trials aggregated, or the reason for none."""
        if trials is None:
            return Cell(value=None, missing="not measured")
        values = {id(record): self._of(record.result) for record in trials.finished}
        return number(
            self._aggregated(
                [value for several in values.values() for value in several]
            ),
            self.format,
            self.unit,
            records=tuple(record for record in trials.finished if values[id(record)]),
            missing="n/a" if trials.finished else trials.lost,
        )

    def _of(self, result: TrialResult) -> tuple[float, ...]:
        return tuple(value for value in self.of(result) if value is not None)

    def _aggregated(self, values: Sequence[float]) -> float | None:
        return self.aggregate(values) if values else None


def result_totals(result: TrialResult) -> Totals:
    """Over all turns, as the published counters ran on until the work was correct."""
    turns = [msgspec.structs.asdict(turn.totals) for turn in result.turns]
    names = Totals.__struct_fields__
    return Totals(**{name: sum(turn[name] for turn in turns) for name in names})


def tools_and_agent_s(turn: TurnResult) -> float:
    """What is left of the agent's time: its own work, its tools, and the way between."""
    served_s = turn.totals.prompt_s + turn.totals.generation_s
    return max(0.0, turn.seconds - served_s)


def _summed(
    column: str,
    name: str,
    *,
    unit: str = "",
    format_: Format = number_text,
    row: int = 0,
    quantity: Quantity | None = None,
) -> Metric:
    return Metric(
        name=name,
        of=lambda result: [sum(getattr(turn.totals, column) for turn in result.turns)],
        unit=unit,
        format=format_,
        row=row,
        column=column,
        quantity=quantity,
    )


def _seconds(name: str, of: Callable[[TrialResult], float]) -> Metric:
    return Metric(
        name=name, of=lambda result: [of(result)], unit="s", format=seconds_text
    )


def _first_token_s(result: TrialResult) -> Values:
    """Of each call of the agent that got a token, from its request on."""
    return [
        call.first_token_s - call.begun_s
        for turn in result.turns
        for call in turn.calls
        if call.first_token_s is not None and call.kind != CallKind.OTHER
    ]


def _p95(values: Sequence[float]) -> float:
    """The 95th percentile, by linear interpolation."""
    if len(values) == 1:
        return values[0]
    return statistics.quantiles(values, n=20, method="inclusive")[-1]


PREFILL = Metric(
    name="Prefill tok/s",
    of=lambda result: [result_totals(result).prefill_tps],
    unit="tokens/s",
    format=whole,
    row=1,
    quantity=Quantity.PREFILL_RATE,
)
GENERATION = Metric(
    name="Generation tok/s",
    of=lambda result: [result_totals(result).generation_tps],
    unit="tokens/s",
    format=tenths,
    row=2,
    quantity=Quantity.GENERATION_RATE,
)
API_CALLS = _summed("api_calls", "API calls", row=7, quantity=Quantity.API_CALLS)
TOOL_CALLS = _summed("tool_calls", "Tool calls", row=9, quantity=Quantity.TOOL_CALLS)
PROMPT_TOKENS = _summed(
    *("prompt_tokens", "Total prompt tokens processed"),
    unit="tokens",
    row=3,
    quantity=Quantity.PROMPT_TOKENS,
)
GENERATED_TOKENS = _summed(
    *("generated_tokens", "Total tokens generated"),
    unit="tokens",
    row=4,
    quantity=Quantity.GENERATED_TOKENS,
)
PROMPT_TIME = _summed(
    *("prompt_s", "Prompt processing time"),
    unit="s",
    format_=seconds_text,
    row=5,
    quantity=Quantity.PROMPT_TIME,
)
GENERATION_TIME = _summed(
    *("generation_s", "Generation time"),
    unit="s",
    format_=seconds_text,
    row=6,
    quantity=Quantity.GENERATION_TIME,
)
TRIAL_TIME = _seconds("Whole trial", lambda result: result.seconds)
METRICS = (
    *(PREFILL, GENERATION, API_CALLS),
    Metric(
        name="API calls without title calls",
        of=lambda result: [result_totals(result).api_calls_without_titles],
        row=8,
    ),
    *(
        _summed(column, column.replace("_", " "))
        for column in (
            *("title_calls", "compaction_calls", "subagent_calls", "failed_calls"),
            *("left_calls", "untimed_calls"),
        )
    ),
    *(TOOL_CALLS, PROMPT_TOKENS),
    _summed("cached_tokens", "Cached tokens", unit="tokens"),
    *(GENERATED_TOKENS, PROMPT_TIME, GENERATION_TIME),
    Metric(
        name="Time to first token, median of calls",
        of=_first_token_s,
        unit="s",
        format=seconds_text,
        row=10,
        column="ttft_median_s",
        quantity=Quantity.FIRST_TOKEN_TIME,
    ),
    Metric(
        name="Time to first token, p95 of calls",
        of=_first_token_s,
        unit="s",
        format=seconds_text,
        aggregate=_p95,
        row=11,
        column="ttft_p95_s",
    ),
)
"""In the order of the columns of `agent.csv`."""
RESULTS = tuple(
    sorted((metric for metric in METRICS if metric.row), key=lambda metric: metric.row)
)
TIMES = (
    *(TRIAL_TIME, PROMPT_TIME, GENERATION_TIME),
    _seconds(
        "Tools and agent", lambda result: sum(map(tools_and_agent_s, result.turns))
    ),
    _seconds("Judging", lambda result: result.judging_s),
    _seconds("Harness", lambda result: result.harness_s),
    GENERATED_TOKENS,
)
"""What a trial's time was spent on, and how much was generated in it."""


def cards_of(record: SpeedRecord | TrialRecord | ContextRecord) -> tuple[Gpu, ...]:
    """The cards that were measured; none for a build without CUDA."""
    return record.host.gpus if record.build.backend == Backend.CUDA else ()


def on_a_card(record: SpeedRecord | TrialRecord) -> bool:
    return bool(cards_of(record))


def served_argv(record: TrialRecord) -> tuple[str, ...]:
    """The server's command line; empty where none was started."""
    return record.served.argv if record.served else ()


def memory_bytes(record: TrialRecord) -> int | None:
    """The most that the server held of the cards, else of the machine's memory.

    Of the cards what they held before is left out where the driver does not tell
    processes apart; None where it tells nothing.
    """
    served = record.served
    if served is None or not on_a_card(record):
        return served.memory.peak_rss_bytes if served and served.memory else None
    before = sum(sample.used_bytes or 0 for sample in served.telemetry.gpu_before)
    own: Counter[float] = Counter()
    used: Counter[float] = Counter()
    for sample in served.telemetry.gpu:
        if sample.own_bytes is not None:
            own[sample.at_s] += sample.own_bytes
        if sample.used_bytes is not None:
            used[sample.at_s] += sample.used_bytes
    if own:
        return max(own.values())
    return max(used.values()) - before if used else None


def memory_cell(records: Iterable[TrialRecord]) -> Cell:
    """`21.30 GiB`; with `RSS` behind it where no card held the model."""
    several = list(records)
    bytes_by_record = {id(record): memory_bytes(record) for record in several}
    kept = tuple(
        record for record in several if bytes_by_record[id(record)] is not None
    )
    most = max(
        (size for size in bytes_by_record.values() if size is not None), default=None
    )
    rss = "" if not several or on_a_card(several[0]) else " RSS"
    return number(most, lambda size: f"{size_text(size)}{rss}", "bytes", records=kept)


def trial_energy(record: TrialRecord) -> Energy | None:
    """What the cards took for a trial; None without a card, or where it does not tell."""
    return energy_of_all(record.served.telemetry) if record.served else None
