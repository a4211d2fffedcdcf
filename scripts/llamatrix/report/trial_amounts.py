"""What is counted and timed of a trial, and how several trials become one cell."""

import statistics
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import msgspec

from llamatrix.config.matrix import Backend
from llamatrix.measure.energy import Energy, energy_of_all
from llamatrix.proxy.totals import Totals
from llamatrix.records.trial_record import TrialRecord
from llamatrix.report.speed_tables import size_text
from llamatrix.report.trials import Trials
from llamatrix.trials.trial_result import (
    Broken,
    Correct,
    Incorrect,
    TrialOutcome,
    TurnResult,
    Undecided,
)

_ENDINGS = {1: "st", 2: "nd", 3: "rd"}
"""Of the turns that a person would wait for; all others end in th."""


def number_text(value: float) -> str:
    """A count, or the half that a median of counts can have: `2,867`, `10.5`."""
    return f"{value:,.0f}" if value == round(value) else f"{value:,.1f}"


def _whole(value: float) -> str:
    return f"{value:,.0f}"


def _tenths(value: float) -> str:
    return f"{value:,.1f}"


def seconds_text(value: float) -> str:
    """As published: `4.11s`."""
    return f"{value:,.2f}s"


@dataclass(frozen=True, kw_only=True, slots=True)
class Amount:
    """One row of the published tables, or of ours."""

    name: str
    of: Callable[[TrialRecord], float | None]
    """Of one trial; None where it has none."""
    text: Callable[[float], str]

    def values(self, trials: Trials) -> tuple[float, ...]:
        """One for each finished trial that has it, in their order."""
        found = (self.of(record) for record in trials.finished)
        return tuple(value for value in found if value is not None)

    def cell(self, trials: Trials | None) -> str:
        """The number, of several trials the median, or the word for why there is none."""
        if trials is None:
            return "not measured"
        if not trials.finished:
            return lost_word(trials)
        values = self.values(trials)
        return self.text(statistics.median(values)) if values else "n/a"


def trial_totals(record: TrialRecord) -> Totals:
    """Over all turns, as the published counters ran on until the work was correct."""
    return summed(turn.totals for turn in record.result.turns)


def summed(found: Iterable[Totals]) -> Totals:
    several = [msgspec.structs.asdict(one) for one in found]
    names = Totals.__struct_fields__
    return Totals(**{name: sum(one[name] for one in several) for name in names})


PREFILL = Amount(
    name="Prefill tok/s",
    of=lambda record: trial_totals(record).prefill_tps,
    text=_whole,
)
GENERATION = Amount(
    name="Generation tok/s",
    of=lambda record: trial_totals(record).generation_tps,
    text=_tenths,
)
PROMPT_TOKENS = Amount(
    name="Total prompt tokens processed",
    of=lambda record: trial_totals(record).prompt_tokens,
    text=number_text,
)
GENERATED_TOKENS = Amount(
    name="Total tokens generated",
    of=lambda record: trial_totals(record).generated_tokens,
    text=number_text,
)
PROMPT_TIME = Amount(
    name="Prompt processing time",
    of=lambda record: trial_totals(record).prompt_s,
    text=seconds_text,
)
GENERATION_TIME = Amount(
    name="Generation time",
    of=lambda record: trial_totals(record).generation_s,
    text=seconds_text,
)
API_CALLS = Amount(
    name="API calls",
    of=lambda record: trial_totals(record).api_calls,
    text=number_text,
)
API_CALLS_WITHOUT_TITLES = Amount(
    name="API calls without title calls",
    of=lambda record: trial_totals(record).api_calls_without_titles,
    text=number_text,
)
TOOL_CALLS = Amount(
    name="Tool calls",
    of=lambda record: trial_totals(record).tool_calls,
    text=number_text,
)
TRIAL_TIME = Amount(
    name="Whole trial", of=lambda record: record.result.seconds, text=seconds_text
)
AGENT_TIME = Amount(
    name="Tools and agent",
    of=lambda record: sum(tools_and_agent_s(turn) for turn in record.result.turns),
    text=seconds_text,
)
JUDGING_TIME = Amount(
    name="Judging", of=lambda record: record.result.judging_s, text=seconds_text
)
HARNESS_TIME = Amount(
    name="Harness", of=lambda record: record.result.harness_s, text=seconds_text
)
PUBLISHED = (
    *(PREFILL, GENERATION, PROMPT_TOKENS, GENERATED_TOKENS, PROMPT_TIME),
    *(GENERATION_TIME, API_CALLS, API_CALLS_WITHOUT_TITLES, TOOL_CALLS),
)
"""In the order of the published tables."""
TIMES = (
    *(TRIAL_TIME, PROMPT_TIME, GENERATION_TIME),
    *(AGENT_TIME, JUDGING_TIME, HARNESS_TIME),
)


def tools_and_agent_s(turn: TurnResult) -> float:
    """What is left of OpenCode's time: its own work, its tools, and the way between."""
    served_s = turn.totals.prompt_s + turn.totals.generation_s
    return max(0.0, turn.seconds - served_s)


def turn_text(trials: Trials | None) -> str:
    """`1st`; of several trials each: `1st ×2, not in 3 ×1`."""
    if trials is None:
        return "not measured"
    words = [outcome_text(record.result.outcome) for record in trials.finished]
    if not words:
        return lost_word(trials)
    if len(words) == 1:
        return words[0]
    return ", ".join(f"{word} ×{n}" for word, n in sorted(Counter(words).items()))


def outcome_text(outcome: TrialOutcome) -> str:
    """`3rd`, `not in 3`, `undecided`, `broken` or `not run`."""
    match outcome:
        case Correct(turn=turn):
            return ordinal(turn)
        case Incorrect(turns=turns):
            return f"not in {turns}"
        case Undecided():
            return "undecided"
        case Broken():
            return "broken"
        case _:
            return "not run"


def ordinal(number: int) -> str:
    return f"{number}{_ENDINGS.get(number, 'th')}"


def lost_word(trials: Trials) -> str:
    return "broken" if trials.broken else "not run"


def count_text(trials: Trials | None) -> str:
    """How many trials the amounts are of, and what is not among them."""
    if trials is None:
        return "0"
    lost = [
        f"{count} {word}"
        for count, word in ((trials.broken, "broken"), (trials.not_run, "not run"))
        if count
    ]
    return f"{len(trials.finished)}" + (f" (+ {', '.join(lost)})" if lost else "")


def served_argv(record: TrialRecord) -> tuple[str, ...]:
    """The server's command line; empty where none was started."""
    return record.served.argv if record.served else ()


def on_a_card(record: TrialRecord) -> bool:
    return record.build.backend == Backend.CUDA and bool(record.host.gpus)


def memory_bytes(record: TrialRecord) -> int | None:
    """The most that the server held of the cards, else of the machine's memory.

    Of the cards what they held before is left out where the driver does not tell
    processes apart; None where it tells nothing.
    """
    served = record.served
    if served is None or not on_a_card(record):
        return served.memory.peak_rss_bytes if served else None
    before = sum(one.used_bytes or 0 for one in served.telemetry.gpu_before)
    own: Counter[float] = Counter()
    used: Counter[float] = Counter()
    for one in served.telemetry.gpu:
        if one.own_bytes is not None:
            own[one.at_s] += one.own_bytes
        if one.used_bytes is not None:
            used[one.at_s] += one.used_bytes
    if own:
        return max(own.values())
    return max(used.values()) - before if used else None


def trial_energy(record: TrialRecord) -> Energy | None:
    """What the cards took for a trial; None without a card, or where it does not tell."""
    return energy_of_all(record.served.telemetry) if record.served else None


def memory_text(records: Iterable[TrialRecord]) -> str:
    """`21.30 GiB`; with `RSS` behind it where no card held the model."""
    several = list(records)
    found = [held for one in several if (held := memory_bytes(one)) is not None]
    if not found:
        return "n/a"
    return size_text(max(found)) + ("" if on_a_card(several[0]) else " RSS")
