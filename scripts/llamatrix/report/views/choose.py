"""Which model for a card: predictions, our records and published sets in one ranking.

Each figure has a source and a grade: measured here, measured elsewhere, or predicted.
"""

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

from llamatrix.config.known_builds import place_in_time
from llamatrix.config.matrix import WeightsKind
from llamatrix.measure.context.result import Limit, usable_context
from llamatrix.nvml import Gpu as Card
from llamatrix.provision.weights.fit import (
    MemorySettings,
    known_shape,
    largest_context,
)
from llamatrix.provision.weights.synthetic.models import MODELS
from llamatrix.records.context_record import ContextRecord
from llamatrix.reference.conditions import Conditions
from llamatrix.reference.gpu import Gpu
from llamatrix.reference.quantity import Quantity
from llamatrix.reference.reference_set import Claim, Statistic
from llamatrix.reference.rules.rule import Severity
from llamatrix.report.formats import hundredths, ordinal, whole
from llamatrix.report.inputs import Published
from llamatrix.report.metrics import cards_of
from llamatrix.report.our_numbers import mean_interval
from llamatrix.report.speed import Group, Result
from llamatrix.report.table import Cell, Column, Reference, Table, number, numbers
from llamatrix.report.trials import TrialGroup, passes_of
from llamatrix.report.views.cards import energy_cells
from llamatrix.stats.intervals import Interval
from llamatrix.stats.pass_rates import Passes, wilson
from llamatrix.units import bytes_text

RESERVE_BYTES = 2**30
"""Kept free of the card, as `invoke fit` and llama-server do."""
DEFAULT_CARD_BYTES = 24 * 2**30
DEFAULT_CONTEXT_TOKENS = 32768
RULE = (
    "Ranked by: fits the context; correct in at least half of the attempts and not clearly "
    "less often than another (95 % intervals), then not known, then less often; generation "
    "speed."
)
_SAME_CARD = 0.05
"""Drivers report up to this much less memory than a card is sold with."""
_HALF = 0.5
_UNFINISHED = {Limit.ASKED, Limit.TIME, Limit.INTERRUPTED}
"""A search that ended so has not found the largest context."""


class SourceGrade(IntEnum):
    HERE = 0
    ELSEWHERE = 1
    PREDICTED = 2

    @property
    def words(self) -> str:
        return ("measured here", "measured elsewhere", "predicted")[self]

    @property
    def letter(self) -> str:
        return "HEP"[self]


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    grade: SourceGrade
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Amount:
    """A figure of a model, with its source."""

    value: float
    text: str
    source: Source
    of: str = ""
    """Which figure of the source it is."""
    interval: tuple[float, float] | None = None
    records: tuple[Reference, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Correctness:
    """How often a model's work was correct, and after how many turns."""

    passes: Passes
    mean_turn: float | None
    amount: Amount

    @property
    def interval(self) -> Interval:
        return wilson(self.passes)


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    key: str
    name: str
    context: Amount | None
    """The largest that fits; None where nothing is known or nothing fits."""
    refused: str
    """Why there is no context."""
    speed: Amount | None
    correct: Correctness | None
    joules: Amount | None
    """Per generated token."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    card_bytes: int
    card: str
    context_tokens: int
    here: str
    """The host class whose records count as measured here; empty for none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Choices:
    question: Question
    ranked: tuple[Choice, ...]

    def fits(self, choice: Choice) -> bool | None:
        """None where it is not known."""
        if choice.context is None:
            return False if choice.refused.startswith("does not fit") else None
        return choice.context.value >= self.question.context_tokens


def choices(
    question: Question,
    *,
    models: Mapping[str, str],
    groups: Sequence[Group] = (),
    trials: Sequence[TrialGroup] = (),
    contexts: Sequence[ContextRecord] = (),
    sets: Sequence[Published] = (),
) -> Choices:
    """Rank the models, given by key and name; see `RULE`."""

    def choice_of(key: str, name: str) -> Choice:
        claims = [
            (published, claim)
            for published in sets
            for claim in published.claims
            if claim.architecture_key == key and _is_usable(published, claim)
        ]
        predicted, refused = _predicted_context(question, key)
        known = [
            *_our_contexts(question, key, contexts),
            *_published_contexts(question, claims),
            *((_distance(question, question.card_bytes), one) for one in predicted),
        ]
        speeds = [
            *_our_speeds(question, key, groups),
            *_published_speeds(question, claims),
        ]
        correct = [
            *_our_passes(question, key, trials),
            *_published_passes(question, claims),
        ]
        correct.sort(key=lambda item: (item[1].amount.source.grade, item[0]))
        return Choice(
            key=key,
            name=name,
            context=_best(known),
            refused=refused,
            speed=_best(speeds),
            correct=correct[0][1] if correct else None,
            joules=_best(_our_joules(question, key, groups)),
        )

    known = [choice_of(key, name) for key, name in models.items()]
    found = Choices(question=question, ranked=tuple(known))
    best_low = max(
        (choice.correct.interval.low for choice in known if choice.correct),
        default=0.0,
    )

    def order(choice: Choice) -> tuple[int, int, float]:
        fits = {True: 0, None: 1, False: 2}[found.fits(choice)]
        correct = choice.correct
        tier = 1
        if correct:
            often = correct.passes.rate >= _HALF and correct.interval.high >= best_low
            tier = 0 if often else 2
        return fits, tier, -choice.speed.value if choice.speed else 0.0

    return Choices(question=question, ranked=tuple(sorted(known, key=order)))


_Place = tuple[float, ...]
"""Smaller is nearer to the question: same card, nearest memory, the source's merits."""
_Placed = tuple[_Place, Amount]


def _best(amounts: Iterable[_Placed]) -> Amount | None:
    """Take the same card before others, then here before elsewhere before predicted."""
    placed = min(
        amounts,
        key=lambda item: (item[0][0], item[1].source.grade, *item[0][1:]),
        default=None,
    )
    return placed[1] if placed else None


def _distance(question: Question, memory_bytes: float | None) -> _Place:
    """Return whether it is another card, and how far its memory is off."""
    if not memory_bytes:
        return (2.0, math.inf)
    ratio = abs(math.log(memory_bytes / question.card_bytes))
    return (0.0, 0.0) if ratio <= _SAME_CARD else (1.0, ratio)


def _memory_bytes(cards: Sequence[Card]) -> int:
    return sum(card.memory_bytes for card in cards)


def _cards_text(cards: Sequence[Card]) -> str:
    """Write `2 × NVIDIA H200 (140 GiB)`; empty for no card."""
    counts = Counter((card.name, card.memory_bytes) for card in cards)
    return ", ".join(
        f"{f'{count} × ' if count > 1 else ''}{name} ({bytes_text(memory)})"
        for (name, memory), count in counts.items()
    )


def _our_source(question: Question, slug: str, words: str) -> Source:
    grade = SourceGrade.HERE if slug == question.here else SourceGrade.ELSEWHERE
    return Source(grade=grade, text=words)


def _our_speeds(
    question: Question, key: str, groups: Sequence[Group]
) -> Iterator[_Placed]:
    for place, result, source in _our_generations(question, key, groups):
        if result.mean is not None:
            yield (
                place,
                Amount(
                    value=result.mean,
                    text=hundredths(result.mean),
                    source=source,
                    interval=mean_interval(result.steady_means),
                    records=result.used,
                ),
            )


def _our_joules(
    question: Question, key: str, groups: Sequence[Group]
) -> Iterator[_Placed]:
    for place, result, source in _our_generations(question, key, groups):
        cell = energy_cells(result.records)[0]
        if isinstance(cell.value, float):
            yield (
                place,
                Amount(
                    value=cell.value,
                    text=hundredths(cell.value),
                    source=source,
                    records=cell.records,
                ),
            )


def _our_generations(
    question: Question, key: str, groups: Sequence[Group]
) -> Iterator[tuple[_Place, Result, Source]]:
    """Yield plain generations, without those of tiny weights, which are other models.

    Long generations are preferred, then new ones, new builds, and fast settings.
    """
    for group in groups:
        if group.weights is WeightsKind.TINY:
            continue
        first = group.records[0]
        cards = cards_of(first)
        hardware = _cards_text(cards) or first.host.cpu_model
        newest = max(record.measured_at[:10] for record in group.records)
        for (_, test), result in group.results.items():
            cell = result.records[0].cell
            plain = test.n_gen and not (test.n_prompt or test.n_depth)
            if cell.model_key == key and plain and test.concurrency == 1:
                words = (
                    f"{hardware}, {group.sweep} sweep, {test.name}, pin "
                    f"{group.pin_text}, {group.build} build, {group.weights.label} weights, "
                    f"{group.days}"
                )
                place = (
                    *_distance(question, _memory_bytes(cards)),
                    -float(test.n_gen),
                    -float(newest.replace("-", "")),
                    -float(place_in_time(group.records[0].build.commit)),
                    -(result.mean or 0.0),
                )
                yield place, result, _our_source(question, group.host_slug, words)


def _our_passes(
    question: Question, key: str, trials: Sequence[TrialGroup]
) -> Iterator[tuple[_Place, Correctness]]:
    """Yield the real trials of a model: scripted or synthetic ones say nothing of it."""
    for group in trials:
        setup = group.setup
        if setup.scripted or setup.weights.synthetic:
            continue
        own = [
            attempts
            for attempts in group.trials.values()
            if attempts.records[0].cell.model_key == key
        ]
        turns = [turn for attempts in own for turn in attempts.turns]
        passes = passes_of(turns)
        if passes is None:
            continue
        words = f"{setup.words}, pin {group.pin_text}, {group.days}"
        source = _our_source(question, setup.host_slug, words)
        records = tuple(record for attempts in own for record in attempts.finished)
        known = [float(turn) for turn in turns if turn is not None]
        mean_turn = statistics.fmean(known) if known else None
        yield (
            _distance(question, _memory_bytes(cards_of(group.records[0]))),
            _correctness(passes, mean_turn, source, records),
        )


def _correctness(
    passes: Passes,
    mean_turn: float | None,
    source: Source,
    records: tuple[Reference, ...] = (),
    turns: str = "",
    of: str = "",
) -> Correctness:
    interval = wilson(passes)
    return Correctness(
        passes=passes,
        mean_turn=mean_turn,
        amount=Amount(
            value=passes.rate,
            text=f"{passes.passed}/{passes.trials}{turns}",
            source=source,
            of=of,
            interval=(interval.low, interval.high),
            records=records,
        ),
    )


def _our_contexts(
    question: Question, key: str, contexts: Sequence[ContextRecord]
) -> Iterator[_Placed]:
    """Yield validated contexts of the same amount of memory; others say nothing of it."""
    for record in contexts:
        kind, limits = record.weights.kind, record.limits
        answer = usable_context(record.result, min_speed_ratio=limits.min_speed_ratio)
        memory_bytes = limits.vram_bytes or _memory_bytes(cards_of(record))
        place = _distance(question, memory_bytes)
        other = record.cell.model_key != key or kind is WeightsKind.TINY or place[0]
        if answer.step and not other and answer.limit not in _UNFINISHED:
            words = (
                f"invoke context with {bytes_text(memory_bytes)}, pin {record.cell.pin}, "
                f"{record.measured_at[:10]}"
            )
            tokens = answer.step.tokens
            source = _our_source(question, record.host.slug, words)
            amount = Amount(value=tokens, text=whole(tokens), source=source)
            yield (*place, -tokens), amount


def _predicted_context(question: Question, key: str) -> tuple[list[Amount], str]:
    """Return the closed form's context, or why there is none."""
    if key not in MODELS:
        return [], "not predicted: shape unknown"
    shape = known_shape(key)
    tokens = largest_context(
        shape, MemorySettings(), card_bytes=question.card_bytes - RESERVE_BYTES
    )
    if tokens is None:
        return [], f"does not fit: {bytes_text(shape.tensor_bytes)} of weights"
    source = Source(
        grade=SourceGrade.PREDICTED,
        text="closed form of `invoke fit`, 1 GiB kept free, q8_0 cache",
    )
    return [Amount(value=tokens, text=whole(tokens), source=source)], ""


def _is_usable(published: Published, claim: Claim) -> bool:
    """Whether one stream on one card was measured, and the audit lets the figure stand."""
    stated = claim.conditions
    alone = stated.gpu_count in {None, 1} and stated.streams in {None, 1}
    suspects = {
        finding.suspect
        for finding in published.findings
        if finding.severity is Severity.IMPOSSIBLE
    }
    return (
        alone
        and not stated.speculative
        and claim.statistic not in {Statistic.LOWEST, Statistic.HIGHEST}
        and claim.id not in suspects
        and stated.offload in {None, "full"}
    )


def _published_source(published: Published, claim: Claim) -> Source:
    gpu = _gpu(published, claim.conditions)
    card = f"{gpu.name} ({gpu.memory_gib:g} GiB)" if gpu else "card not stated"
    proxy = f", of {claim.model}" if claim.proxy_for else ""
    return Source(
        grade=SourceGrade.ELSEWHERE,
        text=f"{published.name} (grade {claim.grade}), {card}{proxy}",
    )


def _gpu(published: Published, stated: Conditions) -> Gpu | None:
    return published.gpus.get(stated.gpu) if stated.gpu else None


def _published_place(question: Question, published: Published, claim: Claim) -> _Place:
    """Nearest card, then the model itself, llama-bench, an empty context, a good grade."""
    gpu, stated = _gpu(published, claim.conditions), claim.conditions
    return (
        *_distance(question, gpu.memory_bytes if gpu else None),
        float(claim.proxy_for is not None),
        float(stated.program != "llama-bench"),
        float(bool(stated.depth_tokens)),
        float("ABC".index(claim.grade)),
        -float((stated.measured_on or published.whole.source.date or "0")[:4]),
    )


def _published_amount(published: Published, claim: Claim) -> Amount:
    return Amount(
        value=claim.value,
        text=claim.figure,
        source=_published_source(published, claim),
        of=claim.id,
    )


def _published_speeds(
    question: Question, claims: Sequence[tuple[Published, Claim]]
) -> Iterator[_Placed]:
    for published, claim in claims:
        if claim.quantity is Quantity.GENERATION_RATE and claim.value:
            place = _published_place(question, published, claim)
            yield place, _published_amount(published, claim)


def _published_contexts(
    question: Question, claims: Sequence[tuple[Published, Claim]]
) -> Iterator[_Placed]:
    """Yield those of the same amount of memory: others say nothing of this card."""
    for published, claim in claims:
        if claim.quantity is Quantity.MAX_CONTEXT:
            place = _published_place(question, published, claim)
            if not place[0]:
                yield (*place, claim.step), _published_amount(published, claim)


def _published_passes(
    question: Question, claims: Sequence[tuple[Published, Claim]]
) -> Iterator[tuple[_Place, Correctness]]:
    """Yield, of each table, the turns on which one attempt at each task was correct."""
    by_table: dict[tuple[str, str, str], dict[str, tuple[Published, Claim]]] = {}
    for published, claim in claims:
        if claim.quantity is Quantity.CORRECT_TURN and claim.conditions.task:
            table = published.name, claim.table, claim.model
            by_table.setdefault(table, {})[claim.conditions.task] = published, claim
    for tasks in by_table.values():
        published, first = next(iter(tasks.values()))
        turns = [claim.value for _, claim in tasks.values()]
        text = ", ".join(ordinal(round(turn)) for turn in turns)
        yield (
            (*_published_place(question, published, first), -len(tasks)),
            _correctness(
                Passes(passed=len(turns), trials=len(turns)),
                statistics.fmean(turns),
                _published_source(published, first),
                turns=f", {text} turn",
                of=", ".join(claim.id for _, claim in tasks.values()),
            ),
        )


def choice_tables(found: Choices) -> tuple[Table, Table]:
    sources: dict[Source, str] = {}
    counts = dict.fromkeys(SourceGrade, 0)

    def mark(amount: Amount) -> str:
        if amount.source not in sources:
            grade = amount.source.grade
            counts[grade] += 1
            sources[amount.source] = f"{grade.letter}{counts[grade]}"
        return sources[amount.source]

    def cell(amount: Amount | None, unit: str = "", missing: str = "unknown") -> Cell:
        if amount is None:
            return Cell(value=None, missing=missing)
        of = f", {amount.of}" if amount.of else ""
        return Cell(
            value=amount.value,
            format=amount.text,
            unit=unit,
            note=mark(amount),
            records=amount.records,
            hint=f"{amount.source.grade.words}: {amount.source.text}{of}",
        )

    def interval(amount: Amount | None, form: str) -> Cell:
        if amount is None or amount.interval is None:
            return Cell(value=None, missing="")
        return number(amount.interval[0], form.format(*amount.interval))

    rows = []
    for choice in found.ranked:
        correct = choice.correct.amount if choice.correct else None
        fits = found.fits(choice)
        rows.append(
            (
                choice.name,
                "unknown" if fits is None else "yes" if fits else "no",
                cell(choice.speed, "tokens/s", "not measured"),
                interval(choice.speed, "[{:.4g}, {:.4g}]"),
                cell(correct, missing="not measured"),
                interval(correct, "[{:.2f}, {:.2f}]"),
                cell(choice.joules, "J/token", "not measured"),
                cell(choice.context, "tokens", choice.refused),
            )
        )
    question = found.question
    ranking = Table(
        f"Models ({question.card}, context {question.context_tokens:,} tokens)",
        (
            *("Model", "Fits"),
            *numbers("Generation, tokens/s", "95 % interval"),
            *numbers("Correct", "95 % (Wilson)", "J per token", "Largest context"),
        ),
        rows,
    ).without_empty_columns()
    listed = Table(
        "Sources",
        ("Mark", "Grade", Column("Source", wide=True)),
        [(mark, source.grade.words, source.text) for source, mark in sources.items()],
    )
    return ranking, listed


def question_of_records(
    groups: Iterable[Group],
    trials: Iterable[TrialGroup],
    contexts: Iterable[ContextRecord] = (),
) -> Question:
    """Ask for the card of the newest record; for 24 GiB where there is none."""
    records = (
        *(record for group in groups for record in group.records),
        *(record for group in trials for record in group.records),
        *contexts,
    )
    newest = max(records, key=lambda record: record.measured_at, default=None)
    gpu = next(iter(newest.host.gpus), None) if newest else None
    card_bytes = gpu.memory_bytes if gpu else DEFAULT_CARD_BYTES
    return Question(
        card_bytes=card_bytes,
        card=f"{gpu.name if gpu else 'a card'} of {bytes_text(card_bytes)}",
        context_tokens=DEFAULT_CONTEXT_TOKENS,
        here=newest.host.slug if newest else "",
    )
