"""From speed records to the numbers that published claims are held against."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from llamatrix.agents import NAMES
from llamatrix.config.cell import SpeedTest
from llamatrix.config.matrix import WeightsKind
from llamatrix.engines.outcome import Done
from llamatrix.records.speed_record import SpeedRecord
from llamatrix.records.trial_record import TrialRecord
from llamatrix.reference.conditions import Conditions
from llamatrix.reference.gpu import Gpu
from llamatrix.reference.quantity import RATES, Quantity
from llamatrix.reference.reference_set import Claim
from llamatrix.reference.verdict import OurNumber
from llamatrix.report.inputs import RecordIndex
from llamatrix.report.metrics import METRICS, memory_bytes, on_a_card
from llamatrix.report.our_conditions import conditions_of, trial_conditions
from llamatrix.report.speed import Group, Result, outcome_word
from llamatrix.report.trials import PROMPTS, TrialGroup
from llamatrix.stats.intervals import estimate

_WIDEST = 100.0


@dataclass(frozen=True, kw_only=True, slots=True)
class OurModel:
    """What a group of records holds of one model of the matrix."""

    key: str
    name: str
    architecture: str
    results: Mapping[SpeedTest, Result]


def our_numbers(
    claims: Sequence[Claim], group: Group, index: RecordIndex, gpus: Mapping[str, Gpu]
) -> dict[str, OurNumber]:
    """By claim id; a claim about another kind of number than llama-bench's is left out."""
    models = {model.key: model for model in our_models(group)}
    numbers = {}
    for claim in claims:
        model = models.get(claim.architecture_key)
        if model and _is_llama_benchs(claim):
            of = _rate if claim.quantity in RATES else _per_model
            if number := of(claim, model, index, gpus):
                numbers[claim.id] = number
    return numbers


def our_models(group: Group) -> tuple[OurModel, ...]:
    keys = {record.cell.model_name: record.cell for record in group.records}
    return tuple(
        OurModel(
            key=keys[name].model_key,
            name=name,
            architecture=keys[name].architecture,
            results={
                test: result
                for (model, test), result in group.results.items()
                if model == name
            },
        )
        for name in group.models
    )


def mean_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """95 % for the mean of the processes, by Student's t on logs.

    None for one process, and where the interval spans more than a factor of 100: its
    ends would say nothing but that the values are too few or too far apart.
    """
    interval = estimate([math.log(value) for value in values]).interval()
    if interval is None or interval.high > _WIDEST * interval.low:
        return None
    return interval.low, interval.high


def _is_llama_benchs(claim: Claim) -> bool:
    """One plain stream, no task, an empty context; where nothing is said, as it seems."""
    stated = claim.conditions
    return (
        stated.program in {None, "llama-bench"}
        and stated.task is None
        and stated.streams in {None, 1}
        and not stated.speculative
        and not stated.depth_tokens
    )


def _rate(
    claim: Claim, model: OurModel, index: RecordIndex, gpus: Mapping[str, Gpu]
) -> OurNumber | None:
    test = _test_of(claim, tuple(model.results))
    if isinstance(test, str):
        return _missing(claim, test)
    result = model.results.get(test)
    if result is None:
        return None
    means = result.published_means
    return OurNumber(
        claim=claim.id,
        values=means,
        interval=mean_interval(means) if means else None,
        conditions=conditions_of(_first_done(result), gpus),
        records=tuple(index.of(record).sha256 for record in result.records),
        marks=result.marks if means else (),
        missing="" if means else f"{outcome_word(result.failures[-1])} here",
    )


def _per_model(
    claim: Claim, model: OurModel, index: RecordIndex, gpus: Mapping[str, Gpu]
) -> OurNumber | None:
    """A fact of the file, in every row of the model; nothing else bears on it."""
    result = next((result for result in model.results.values() if result.rows), None)
    if result is None:
        return None
    row = result.rows[0]
    dense = model.architecture == "Dense"
    value = {
        Quantity.MODEL_SIZE: row.model_bytes,
        Quantity.TOTAL_PARAMS: row.model_params,
        Quantity.ACTIVE_PARAMS: row.model_params if dense else None,
    }.get(claim.quantity)
    if value is None:
        return None
    record = _first_done(result)
    ours = conditions_of(record, gpus)
    return OurNumber(
        claim=claim.id,
        values=(float(value),),
        conditions=msgspec.structs.replace(
            claim.conditions,
            quant=ours.quant,
            weights=ours.weights,
            file=ours.file,
            file_sha256=ours.file_sha256,
        ),
        records=(index.of(record).sha256,),
    )


def _first_done(result: Result) -> SpeedRecord:
    """The first record that gave a number, else the first."""
    done = (record for record in result.records if isinstance(record.outcome, Done))
    return next(done, result.records[0])


def _test_of(claim: Claim, tests: Sequence[SpeedTest]) -> SpeedTest | str:
    """The test of ours that measures what was published, or why there is none."""
    stated = claim.conditions
    if claim.quantity is Quantity.PREFILL_RATE:
        if stated.prompt_tokens is None:
            return "the published prompt's size is not stated"
        return SpeedTest(n_prompt=stated.prompt_tokens, n_gen=0)
    if stated.gen_tokens is not None:
        return SpeedTest(n_prompt=0, n_gen=stated.gen_tokens)
    lengths = [test for test in tests if test.n_gen and not test.n_depth]
    if len(lengths) == 1:
        return lengths[0]
    return "the published generation's length is not stated"


TASKS = {f"p{number}": task for task, number in PROMPTS.items()}
"""Ours by the names that reference sets give the published prompts."""
_METRICS = {metric.quantity: metric for metric in METRICS if metric.quantity}
_WITHOUT_A_TASK = (Quantity.VRAM, Quantity.MAX_CONTEXT, *RATES)


def our_trial_numbers(
    claims: Sequence[Claim],
    group: TrialGroup,
    index: RecordIndex,
    gpus: Mapping[str, Gpu],
) -> dict[str, OurNumber]:
    """By claim id; claims about anything but runs of the group's agent are left out."""
    names = {record.cell.model_key: record.cell.model_name for record in group.records}
    numbers = {}
    for claim in claims:
        name = names.get(claim.architecture_key)
        if name is None or not _is_of(group.setup.agent_kind, claim):
            continue
        found = _why_never(group) or _trial_values(claim, group, name)
        if isinstance(found, str):
            numbers[claim.id] = _missing(claim, found)
        elif found:
            values, records = found
            conditions = trial_conditions(records[0], gpus)
            positive = bool(values) and min(values) > 0
            numbers[claim.id] = OurNumber(
                claim=claim.id,
                values=tuple(values),
                interval=mean_interval(values) if positive else None,
                conditions=msgspec.structs.replace(
                    conditions, task=claim.conditions.task
                ),
                records=tuple(index.of(record).sha256 for record in records),
                missing="" if values else "no value here",
            )
    return numbers


def _is_of(agent_kind: str, claim: Claim) -> bool:
    stated = claim.conditions
    if stated.client is None or not stated.client.startswith(NAMES[agent_kind]):
        return False
    return stated.task in TASKS or (
        stated.task is None and claim.quantity in _WITHOUT_A_TASK
    )


_Found = tuple[Sequence[float], Sequence[TrialRecord]] | str | None
"""Values and the records that they are of, or why there are none; None leaves it out."""


def _trial_values(claim: Claim, group: TrialGroup, model: str) -> _Found:
    if claim.conditions.task is None:
        return _values_without_a_task(claim, group, model)
    trials = group.trials.get((model, TASKS[claim.conditions.task]))
    if trials is None:
        return None
    if not trials.finished:
        return f"{trials.lost} here"
    values: Sequence[float] | None = None
    if claim.quantity is Quantity.CORRECT_TURN:
        # A trial that was never correct has no turn: no mean would be one.
        if censored := trials.turns.count(None):
            return f"{censored} of {len(trials.turns)} trials were never correct here"
        values = [float(turn) for turn in trials.turns if turn is not None]
    elif claim.quantity is Quantity.REASONING_TOKENS:
        totals = (record.result.tokens for record in trials.finished)
        values = [float(one.reasoning) for one in totals if one]
    elif metric := _METRICS.get(claim.quantity):
        values = metric.values(trials)
    return None if values is None else (values, trials.finished)


def _values_without_a_task(claim: Claim, group: TrialGroup, model: str) -> _Found:
    if claim.quantity is Quantity.MAX_CONTEXT:
        return "served as asked for; no larger one was tried here"
    if claim.quantity in RATES:
        return "which prompt it is of is not stated"
    records = [
        record
        for (name, _), trials in group.trials.items()
        if name == model
        for record in trials.finished
    ]
    if not records or not on_a_card(records[0]):
        return None
    sizes = [float(size) for size in map(memory_bytes, records) if size is not None]
    return [max(sizes)] if sizes else [], records


def _why_never(group: TrialGroup) -> str:
    """Why nothing of these trials can be held against a real model's."""
    if group.setup.scripted:
        return "scripted here: an authored transcript spoke"
    if group.setup.weights is not WeightsKind.HUB:
        return f"{group.setup.weights.label} weights here, not the published file"
    return ""


def _missing(claim: Claim, why: str) -> OurNumber:
    return OurNumber(claim=claim.id, values=(), conditions=Conditions(), missing=why)
