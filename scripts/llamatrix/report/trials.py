"""The trial records as a reader wants them: grouped, each task's trials together."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from llamatrix.agents import NAMES
from llamatrix.agents.turn_outcome import NotRun, TurnOutcome
from llamatrix.config.matrix import Network, WeightsKind
from llamatrix.records.trial_record import TrialRecord
from llamatrix.report.formats import ordinal
from llamatrix.report.speed import days_text
from llamatrix.stats.pass_rates import Passes
from llamatrix.trials.trial_result import (
    Broken,
    Correct,
    Incorrect,
    TrialOutcome,
    Undecided,
    is_scored,
)

SCRIPTED = "scripted: an authored transcript spoke; no quality claim"
PROMPTS = {"httpx-post": 1, "gemini-images": 2}
"""The published prompts' numbers, by the tasks that carry them."""


def prompt_title(task: str) -> str:
    """`Prompt 1`; a task that was not published goes by its own name."""
    return f"Prompt {PROMPTS[task]}" if task in PROMPTS else task


def prompt_short(task: str) -> str:
    return f"P{PROMPTS[task]}" if task in PROMPTS else task


@dataclass(frozen=True, kw_only=True, slots=True)
class Trials:
    """All trials of one model at one task under one digest, in order."""

    records: tuple[TrialRecord, ...]

    @property
    def finished(self) -> tuple[TrialRecord, ...]:
        """Those that ended by the model's own doing: amounts are taken of them."""
        ends = (Correct, Incorrect, Undecided)
        return tuple(
            record for record in self.records if isinstance(record.result.outcome, ends)
        )

    @property
    def turns(self) -> tuple[int | None, ...]:
        """Of the scored ones: the turn that was correct; None: none was."""
        outcomes = (record.result.outcome for record in self.records)
        return tuple(
            outcome.turn if isinstance(outcome, Correct) else None
            for outcome in outcomes
            if is_scored(outcome)
        )

    @property
    def passes(self) -> Passes | None:
        """None where no trial is scored."""
        return passes_of(self.turns)

    @property
    def max_turns(self) -> int:
        return self.records[0].cell.max_turns

    @property
    def undecided(self) -> int:
        return self._count(Undecided)

    @property
    def broken(self) -> int:
        """Lost by server, sandbox or agent: never scored, never hidden."""
        return self._count(Broken)

    def _count(self, kind: type[TrialOutcome]) -> int:
        return sum(isinstance(record.result.outcome, kind) for record in self.records)

    @property
    def not_run(self) -> int:
        return len(self.records) - len(self.turns) - self.undecided - self.broken

    @property
    def lost(self) -> str:
        """Why there is no finished trial, in a word."""
        return "broken" if self.broken else "not run"

    @property
    def count_text(self) -> str:
        """How many trials the metrics are of, and what is not among them."""
        lost = ((self.broken, "broken"), (self.not_run, "not run"))
        words = ", ".join(f"{count} {word}" for count, word in lost if count)
        return f"{len(self.finished)} (+ {words})" if words else f"{len(self.finished)}"

    @property
    def turn_text(self) -> str:
        """`1st`; of several trials each: `1st ×2, not in 3 ×1`."""
        words = [outcome_text(record.result.outcome) for record in self.finished]
        if len(words) < 2:  # noqa: PLR2004
            return words[0] if words else self.lost
        return ", ".join(f"{word} ×{n}" for word, n in sorted(Counter(words).items()))


def passes_of(turns: Sequence[int | None]) -> Passes | None:
    """None where no trial is scored."""
    if not turns:
        return None
    return Passes(passed=len(turns) - turns.count(None), trials=len(turns))


def outcome_text(outcome: TrialOutcome) -> str:
    """`3rd`, `not in 3`, `undecided`, `broken` or `not run`."""
    match outcome:
        case Correct(turn=turn):
            return ordinal(turn)
        case Incorrect(turns=turns):
            return f"not in {turns}"
        case _:
            return outcome_tag(outcome)


def outcome_tag(outcome: TrialOutcome | TurnOutcome) -> str:
    """Return its name in the record, as words: `not run`, `endpoint died`."""
    return str(outcome.__struct_config__.tag).replace("-", " ")


@dataclass(frozen=True, kw_only=True, slots=True)
class Setup:
    """What all trials of one set of tables share; others are never mixed in."""

    host_slug: str
    weights: WeightsKind
    pin: str
    build: str
    agent: str
    network: Network
    agent_kind: str
    agent_version: str
    context7: str
    scripted: bool
    """Whether authored transcripts spoke in the model's place."""

    @property
    def words(self) -> str:
        """What of it is the agent's: `published setup, OpenCode 1.3.2, online`."""
        end = ", scripted" if self.scripted else ""
        return f"{self.agent} setup, {self.program}, {self.network}{end}"

    @property
    def program(self) -> str:
        """The agent and its version: `OpenCode 1.3.2`."""
        return f"{NAMES.get(self.agent_kind, self.agent_kind)} {self.agent_version}"

    @property
    def name(self) -> str:
        """Fit for a file's name and an id."""
        agent = f"{self.agent_kind}-{self.agent_version}"
        versions = f"{agent}-context7-{self.context7}"
        parts = (self.host_slug, self.agent, self.network, versions)
        end = ("scripted",) if self.scripted else ()
        return "-".join((*parts, self.weights, self.pin, self.build, *end))


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialGroup:
    """What stands in one set of tables."""

    setup: Setup
    records: tuple[TrialRecord, ...]
    """All that the tables are made of, in their order."""
    trials: Mapping[tuple[str, str], Trials]
    """By model name and task."""

    @property
    def host_slug(self) -> str:
        return self.setup.host_slug

    @property
    def models(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(model for model, _ in self.trials))

    @property
    def tasks(self) -> tuple[str, ...]:
        """The published prompts, measured or not, then all others."""
        return tuple(dict.fromkeys((*PROMPTS, *(task for _, task in self.trials))))

    @property
    def caveat(self) -> str:
        """What every page says once of trials in which no real model spoke."""
        if self.setup.scripted:
            return SCRIPTED
        synthetic = self.setup.weights.synthetic
        return "synthetic weights: no quality claim" if synthetic else ""

    @property
    def mark(self) -> str:
        """Return the caveat in a word."""
        if self.setup.scripted:
            return "scripted"
        return "synthetic" if self.setup.weights.synthetic else ""

    @property
    def pin_text(self) -> str:
        """The pin's name, marked where its source is unproven."""
        return self.records[0].locked.marked(self.setup.pin)

    @property
    def title(self) -> str:
        setup = self.setup
        end = f", {self.mark}" if self.mark else ""
        return (
            f"{setup.agent} setup, {setup.program}, {setup.network}, pin {self.pin_text}, "
            f"{setup.build} build, {setup.weights.label} weights{end}"
        )

    @property
    def days(self) -> str:
        return days_text(self.records)

    def caption(self, name: str, *more: str) -> str:
        """Of a table: its name, what else is to be known, and the caveat in a word."""
        notes = "; ".join(text for text in (*more, self.mark) if text)
        return f"{name} ({notes})" if notes else name

    def shown_name(self, model: str) -> str:
        """As the speed tables name it."""
        return self.setup.weights.shown_name(model)

    def by_cell(self) -> Iterator[tuple[tuple[str, str], Trials]]:
        """Model and prompt as rows name them, and their trials."""
        for (model, task), trials in self.trials.items():
            yield (self.shown_name(model), prompt_title(task)), trials


def trial_groups(
    records: Iterable[TrialRecord],
    *,
    models: Sequence[str] = (),
    current: frozenset[str] = frozenset(),
) -> tuple[TrialGroup, ...]:
    """Sort trials into groups, in an order that depends on them alone.

    `models` are the keys in the matrix' order. Of a cell with records of several
    digests those of the spec digests in `current` are shown where there are any, else
    those written last. Every trial of that digest counts: none replaces another, but
    those that could not be run until they could.
    """
    by_cell: dict[tuple[Setup, str], list[TrialRecord]] = defaultdict(list)
    for record in records:
        by_cell[_setup(record), record.cell.id].append(record)
    by_setup: dict[Setup, list[TrialRecord]] = defaultdict(list)
    for (setup, _), same_setup in by_cell.items():
        by_setup[setup] += _newest(same_setup, current)
    place = {key: number for number, key in enumerate(models)}

    def order(record: TrialRecord) -> tuple[int, str, int, str, int, str]:
        cell = record.cell
        return (
            *(place.get(cell.model_key, len(place)), cell.model_key),
            *(PROMPTS.get(cell.task, len(PROMPTS) + 1), cell.task),
            *(record.trial, record.measured_at),
        )

    found = []
    for setup in sorted(by_setup, key=lambda setup: setup.name):
        ordered = sorted(by_setup[setup], key=order)
        by_task: dict[tuple[str, str], list[TrialRecord]] = defaultdict(list)
        for record in ordered:
            by_task[record.cell.model_name, record.cell.task].append(record)
        trials = {key: Trials(records=tuple(own)) for key, own in by_task.items()}
        found.append(TrialGroup(setup=setup, records=tuple(ordered), trials=trials))
    return tuple(found)


def _setup(record: TrialRecord) -> Setup:
    return Setup(
        host_slug=record.host.slug,
        weights=weights_kind(record),
        pin=record.cell.pin,
        build=record.cell.build,
        agent=record.cell.agent,
        network=record.cell.network,
        agent_kind=record.agent_kind,
        agent_version=record.agent_version,
        context7=record.context7,
        scripted=record.cell.script is not None,
    )


def _newest(
    records: Sequence[TrialRecord], current: frozenset[str]
) -> list[TrialRecord]:
    """One digest of a cell, without the records of a trial before it could be run.

    A trial that could not begin is tried again on a corrected machine: its last record counts,
    and none where there is more to tell. A trial that broke stays.
    """
    wanted = [record for record in records if record.cell.spec_digest in current]
    last = max(
        wanted or records, key=lambda record: (record.measured_at, record.cell.digest)
    )
    own = [record for record in records if record.cell.digest == last.cell.digest]
    begun = {
        record.trial for record in own if not isinstance(record.result.outcome, NotRun)
    }
    waiting = {
        record.trial: record
        for record in sorted(own, key=lambda record: record.measured_at)
        if record.trial not in begun
    }
    return [
        record
        for record in own
        if not isinstance(record.result.outcome, NotRun)
        or record is waiting.get(record.trial)
    ]


def weights_kind(record: TrialRecord) -> WeightsKind:
    """Where no server was started the cell's id still tells it: `qwen35-27b.tiny`."""
    if record.served:
        return record.served.weights.kind
    _, kind = f"{record.cell.id.split('/')[1]}.".split(".", 1)
    return WeightsKind(kind.rstrip(".") or WeightsKind.HUB)
