"""From speed records to the numbers that published claims are held against."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from llamatrix.config.cell import SpeedTest
from llamatrix.engines.outcome import Done
from llamatrix.records.speed_record import SpeedRecord
from llamatrix.reference.conditions import Conditions
from llamatrix.reference.gpu import Gpu
from llamatrix.reference.quantity import RATES, Quantity
from llamatrix.reference.reference_set import Claim
from llamatrix.reference.verdict import OurNumber
from llamatrix.report.evidence import Evidence
from llamatrix.report.our_conditions import conditions_of
from llamatrix.report.speed import Group, Result, outcome_word
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
    claims: Sequence[Claim], group: Group, evidence: Evidence, gpus: Mapping[str, Gpu]
) -> dict[str, OurNumber]:
    """By claim id; a claim about another kind of number than llama-bench's is left out."""
    models = {model.key: model for model in our_models(group)}
    bench = _Bench(group=group, evidence=evidence, gpus=gpus)
    found = {
        claim.id: bench.number(claim, models[claim.architecture_key])
        for claim in claims
        if claim.architecture_key in models and _is_llama_benchs(claim)
    }
    return {key: number for key, number in found.items() if number}


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
    found = estimate([math.log(value) for value in values]).interval()
    if found is None or found.high > _WIDEST * found.low:
        return None
    return found.low, found.high


def _is_llama_benchs(claim: Claim) -> bool:
    """One plain stream, no task, an empty context; where nothing is said, as it seems."""
    said = claim.conditions
    return (
        said.program in {None, "llama-bench"}
        and said.task is None
        and said.streams in {None, 1}
        and not said.speculative
        and not said.depth_tokens
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Bench:
    group: Group
    evidence: Evidence
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
                records=(self.evidence.of(self._speaker(model, test)).sha256,),
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
        return tuple(self.evidence.of(record).sha256 for record in records)


def _is_dense(model: OurModel) -> bool:
    return model.architecture == "Dense"


def _test_of(claim: Claim, tests: Sequence[SpeedTest]) -> SpeedTest | str:
    """The test of ours that measures what was published, or why there is none."""
    said = claim.conditions
    if claim.quantity is Quantity.PREFILL_RATE:
        if said.prompt_tokens is None:
            return "the published prompt's size is not stated"
        return SpeedTest(n_prompt=said.prompt_tokens, n_gen=0)
    if said.gen_tokens is not None:
        return SpeedTest(n_prompt=0, n_gen=said.gen_tokens)
    lengths = [test for test in tests if test.n_gen]
    if len(lengths) == 1:
        return lengths[0]
    return "the published generation's length is not stated"
