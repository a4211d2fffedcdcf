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
from llamatrix.reference.conditions import Conditions, merge_conditions
from llamatrix.reference.gpu import Gpu
from llamatrix.reference.quantity import RATES, Quantity
from llamatrix.reference.reference_set import Claim
from llamatrix.reference.verdict import OurNumber
from llamatrix.report.inputs import SpeedIndex, TrialIndex
from llamatrix.report.metrics import METRICS, memory_bytes, on_a_card, served_argv
from llamatrix.report.our_conditions import (
    after,
    common_conditions,
    conditions_of,
    number_after,
    offload_text,
)
from llamatrix.report.speed import Group, Result, outcome_word
from llamatrix.report.trials import PROMPTS, TrialGroup, Trials
from llamatrix.stats.intervals import estimate

_WIDEST = 100.0
_PER_MODEL = (Quantity.MODEL_SIZE, Quantity.TOTAL_PARAMS, Quantity.ACTIVE_PARAMS)


@dataclass(frozen=True, kw_only=True, slots=True)
class OurModel:
    """What a group of records holds of one model of the matrix."""

    key: str
    name: str
    architecture: str
    results: Mapping[SpeedTest, Result]


def our_numbers(
    claims: Sequence[Claim], group: Group, index: SpeedIndex, gpus: Mapping[str, Gpu]
) -> dict[str, OurNumber]:
    """By claim id; a claim about another kind of number than llama-bench's is left out."""
    models = {model.key: model for model in our_models(group)}
    bench = _Bench(group=group, index=index, gpus=gpus)
    numbers = {
        claim.id: bench.number(claim, models[claim.architecture_key])
        for claim in claims
        if claim.architecture_key in models and _is_llama_benchs(claim)
    }
    return {key: number for key, number in numbers.items() if number}


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


@dataclass(frozen=True, kw_only=True, slots=True)
class _Bench:
    group: Group
    index: SpeedIndex
    gpus: Mapping[str, Gpu]

    def number(self, claim: Claim, model: OurModel) -> OurNumber | None:
        if claim.quantity in RATES:
            return self._rate(claim, model)
        if claim.quantity in _PER_MODEL:
            return self._per_model(claim, model)
        return None

    def _rate(self, claim: Claim, model: OurModel) -> OurNumber | None:
        test = _test_of(claim, tuple(model.results))
        if isinstance(test, str):
            return OurNumber(
                claim=claim.id, values=(), conditions=Conditions(), missing=test
            )
        result = model.results.get(test)
        if result is None:
            return None
        means = result.published_means
        return OurNumber(
            claim=claim.id,
            values=means,
            interval=mean_interval(means) if means else None,
            conditions=self._conditions(model, test),
            records=self._digests(model, test),
            marks=result.marks if means else (),
            missing=f"{outcome_word(result.failures[-1])} here" if not means else "",
        )

    def _per_model(self, claim: Claim, model: OurModel) -> OurNumber | None:
        """A fact of the file, in every row of the model; nothing else bears on it."""
        for test, result in model.results.items():
            if not result.rows:
                continue
            row = result.rows[0]
            if claim.quantity is Quantity.MODEL_SIZE:
                value = row.model_bytes
            elif claim.quantity is Quantity.TOTAL_PARAMS or _is_dense(model):
                value = row.model_params
            else:
                return None
            if value is None:
                return None
            whole = self._conditions(model, test)
            return OurNumber(
                claim=claim.id,
                values=(float(value),),
                conditions=msgspec.structs.replace(
                    claim.conditions,
                    quant=whole.quant,
                    weights=whole.weights,
                    file=whole.file,
                    file_sha256=whole.file_sha256,
                ),
                records=(self.index.of(self._speaker(model, test)).sha256,),
            )
        return None

    def _conditions(self, model: OurModel, test: SpeedTest) -> Conditions:
        return conditions_of(self._speaker(model, test), self.gpus)

    def _speaker(self, model: OurModel, test: SpeedTest) -> SpeedRecord:
        """The first record that gave a number, else the first."""
        records = self.group.records_of(model.name, test)
        done = (record for record in records if isinstance(record.outcome, Done))
        return next(done, records[0])

    def _digests(self, model: OurModel, test: SpeedTest) -> tuple[str, ...]:
        records = self.group.records_of(model.name, test)
        return tuple(self.index.of(record).sha256 for record in records)


def _is_dense(model: OurModel) -> bool:
    return model.architecture == "Dense"


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


CORRECTNESS = "the task's checks"
TASKS = {f"p{number}": task for task, number in PROMPTS.items()}
"""Ours by the names that reference sets give the published prompts."""
_METRICS = {metric.quantity: metric for metric in METRICS if metric.quantity}
_WITHOUT_A_TASK = (Quantity.VRAM, Quantity.MAX_CONTEXT, *RATES)


def our_trial_numbers(
    claims: Sequence[Claim],
    group: TrialGroup,
    index: TrialIndex,
    gpus: Mapping[str, Gpu],
) -> dict[str, OurNumber]:
    """By claim id; claims about anything but runs of the group's agent are left out."""
    names = {record.cell.model_key: record.cell.model_name for record in group.records}
    agents = _Agents(group=group, index=index, gpus=gpus)
    numbers = {
        claim.id: agents.number(claim, names[claim.architecture_key])
        for claim in claims
        if claim.architecture_key in names and _is_of(group.setup.agent_kind, claim)
    }
    return {key: number for key, number in numbers.items() if number}


def _is_of(agent_kind: str, claim: Claim) -> bool:
    stated = claim.conditions
    if stated.client is None or not stated.client.startswith(NAMES[agent_kind]):
        return False
    return stated.task in TASKS or (
        stated.task is None and claim.quantity in _WITHOUT_A_TASK
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Agents:
    group: TrialGroup
    index: TrialIndex
    gpus: Mapping[str, Gpu]

    def number(self, claim: Claim, model: str) -> OurNumber | None:
        if why := _why_never(self.group):
            return _missing(claim, why)
        if claim.conditions.task is None:
            return self._without_a_task(claim, model)
        trials = self.group.trials.get((model, TASKS[claim.conditions.task]))
        return None if trials is None else self._of_task(claim, trials)

    def _of_task(self, claim: Claim, trials: Trials) -> OurNumber | None:
        if not trials.finished:
            return _missing(claim, f"{trials.lost} here")
        if claim.quantity is Quantity.CORRECT_TURN:
            return self._turns(claim, trials)
        if claim.quantity is Quantity.REASONING_TOKENS:
            totals = [one.result.tokens for one in trials.finished]
            reasoning = [float(tokens.reasoning) for tokens in totals if tokens]
            return self._made(claim, reasoning, trials.finished)
        metric = _METRICS.get(claim.quantity)
        if metric is None:
            return None
        return self._made(claim, metric.values(trials), trials.finished)

    def _turns(self, claim: Claim, trials: Trials) -> OurNumber:
        """A trial that was never correct has no turn: no mean would be one."""
        censored = trials.turns.count(None)
        if censored:
            why = f"{censored} of {len(trials.turns)} trials were never correct here"
            return _missing(claim, why)
        turns = [float(turn) for turn in trials.turns if turn is not None]
        return self._made(claim, turns, trials.finished)

    def _without_a_task(self, claim: Claim, model: str) -> OurNumber | None:
        if claim.quantity is Quantity.MAX_CONTEXT:
            return _missing(claim, "served as asked for; no larger one was tried here")
        if claim.quantity in RATES:
            return _missing(claim, "which prompt it is of is not stated")
        records = [
            record
            for (name, _), trials in self.group.trials.items()
            if name == model
            for record in trials.finished
        ]
        if not records or not on_a_card(records[0]):
            return None
        sizes = [memory_bytes(record) for record in records]
        most = max((float(one) for one in sizes if one is not None), default=None)
        return self._made(claim, () if most is None else (most,), records)

    def _made(
        self, claim: Claim, values: Sequence[float], records: Sequence[TrialRecord]
    ) -> OurNumber:
        positive = bool(values) and min(values) > 0
        conditions = trial_conditions(records[0], self.gpus)
        return OurNumber(
            claim=claim.id,
            values=tuple(values),
            interval=mean_interval(values) if positive else None,
            conditions=msgspec.structs.replace(conditions, task=claim.conditions.task),
            records=tuple(self.index.of(record).sha256 for record in records),
            missing="" if values else "no value here",
        )


def _why_never(group: TrialGroup) -> str:
    """Why nothing of these trials can be held against a real model's."""
    if group.setup.scripted:
        return "scripted here: an authored transcript spoke"
    if group.setup.weights is not WeightsKind.HUB:
        return f"{group.setup.weights.label} weights here, not the published file"
    return ""


def _missing(claim: Claim, why: str) -> OurNumber:
    return OurNumber(claim=claim.id, values=(), conditions=Conditions(), missing=why)


def trial_conditions(record: TrialRecord, gpus: Mapping[str, Gpu]) -> Conditions:
    """All that a trial's record says of how it was measured, its task apart."""
    argv = served_argv(record)
    conditions = Conditions(
        program="llama-server",
        streams=1,
        speculative=False,
        cache_type_k=after(argv, "--cache-type-k"),
        cache_type_v=after(argv, "--cache-type-v"),
        flash_attn={"on": True, "off": False}.get(after(argv, "--flash-attn") or ""),
        batch_size=number_after(argv, "--batch-size"),
        ubatch_size=number_after(argv, "--ubatch-size"),
        ctx_size=record.cell.context_tokens,
        offload=_offload(record),
        flags=" ".join(argv[1:]),
        slots=number_after(argv, "--parallel"),
        client=f"{NAMES[record.agent_kind]} {record.agent_version} with Context7 "
        f"{record.context7}",
        chat_template=record.served.template.template
        if record.served and record.served.template
        else None,
        correctness=CORRECTNESS,
        context_shift=_switch(argv, "--context-shift", "--no-context-shift"),
        thinking=_thinking(argv),
        temp=_fraction_after(argv, "--temp"),
        top_k=number_after(argv, "--top-k"),
        top_p=_fraction_after(argv, "--top-p"),
        min_p=_fraction_after(argv, "--min-p"),
    )
    return merge_conditions(common_conditions(record, gpus), conditions)


def _offload(record: TrialRecord) -> str | None:
    if not on_a_card(record):
        return None
    if record.served and record.served.spilled:
        return "not full"
    return offload_text(number_after(served_argv(record), "--n-gpu-layers"))


def _switch(argv: Sequence[str], on: str, off: str) -> bool | None:
    return True if on in argv else False if off in argv else None


def _thinking(argv: tuple[str, ...]) -> bool | None:
    """What was asked of the template; None leaves it to the template itself."""
    text = after(argv, "--chat-template-kwargs") or "{}"
    wish = msgspec.json.decode(text, type=dict[str, object]).get("enable_thinking")
    return wish if isinstance(wish, bool) else None


def _fraction_after(argv: tuple[str, ...], flag: str) -> float | None:
    value = after(argv, flag)
    return float(value) if value else None
